"""Small CT series written as Part 10 files, each with one thing about it that a test needs.

No mocks: what the node reads here are real files with real headers and pixels.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from dicom_node.headers import read_instance_facts
from dicom_node.records import Part10File, Series, StoredInstance

STUDY_UID = "1.2.826.0.1.3680043.10.1"
SERIES_UID = "1.2.826.0.1.3680043.10.1.3"
FRAME_OF_REFERENCE_UID = "1.2.826.0.1.3680043.10.1.9"
ROWS, COLUMNS = 6, 8
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

Edit = Callable[[Dataset], None]


def ct_slice(
    number: int,
    position_mm: Iterable[float],
    *,
    orientation: Iterable[float] = AXIAL,
    stored: NDArray[np.int16] | NDArray[np.uint16] | None = None,
    sop_class_uid: str = CTImageStorage,
) -> Dataset:
    """One slice; by default all its stored values are ``1024 + number``, which is ``number`` HU."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.SOPClassUID = sop_class_uid
    image.SOPInstanceUID = f"{SERIES_UID}.{1000 - number}"
    image.StudyInstanceUID = STUDY_UID
    image.SeriesInstanceUID = SERIES_UID
    image.Modality = "CT"
    image.SeriesDescription = "Thorax"
    image.SeriesNumber = 3
    image.InstanceNumber = number
    image.SliceThickness = 2
    image.FrameOfReferenceUID = FRAME_OF_REFERENCE_UID
    image.ImagePositionPatient = [f"{value:.6g}" for value in position_mm]
    image.ImageOrientationPatient = [f"{value:.8g}" for value in orientation]
    image.PixelSpacing = [0.8, 0.7]
    image.RescaleSlope = 1
    image.RescaleIntercept = -1024
    set_pixels(image, np.full((ROWS, COLUMNS), 1024 + number, dtype=np.uint16) if stored is None else stored)
    return image


def set_pixels(image: Dataset, stored: NDArray[np.int16] | NDArray[np.uint16]) -> None:
    """16-bit stored values, signed or not as the array is."""
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = stored.shape
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = 1 if stored.dtype == np.int16 else 0
    image.PixelData = stored.tobytes()


def axial_series(count: int = 12, *, distance_mm: float = 2.0, edit: Edit | None = None) -> list[Dataset]:
    """Slices from feet to head, instance numbers against it; slice k of the sorted volume holds ``count - k`` HU."""
    images = [ct_slice(count - index, (-10.0, -20.0, 100.0 + index * distance_mm)) for index in range(count)]
    for image in images:
        if edit is not None:
            edit(image)
    return images


def enhanced_ct(positions_mm: Sequence[Sequence[float]], *, rescale_intercepts: Sequence[float]) -> Dataset:
    """One multi-frame image; frame n (from 0) holds the stored value ``100 + n``; rescale stands in each frame."""
    stored = np.stack([np.full((ROWS, COLUMNS), 100 + n, dtype=np.uint16) for n in range(len(positions_mm))])
    image = ct_slice(1, (0, 0, 0), stored=stored[0], sop_class_uid=EnhancedCTImageStorage)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(image, keyword)
    del image.RescaleIntercept
    del image.SliceThickness
    image.NumberOfFrames = len(positions_mm)
    image.PixelData = stored.tobytes()
    image.SharedFunctionalGroupsSequence = Items(
        [
            nested(
                PlaneOrientationSequence=nested(ImageOrientationPatient=list(AXIAL)),
                PixelMeasuresSequence=nested(PixelSpacing=[0.8, 0.7], SliceThickness=2.5),
                CTReconstructionSequence=nested(ConvolutionKernel="B60f"),
            )
        ]
    )
    image.PerFrameFunctionalGroupsSequence = Items(
        nested(
            PlanePositionSequence=nested(ImagePositionPatient=list(position)),
            PixelValueTransformationSequence=nested(RescaleSlope=1, RescaleIntercept=intercept, RescaleType="HU"),
        )
        for position, intercept in zip(positions_mm, rescale_intercepts, strict=True)
    )
    return image


def nested(**attributes: object) -> Dataset:
    """An item; data sets among the attributes become sequences of one item."""
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, Items([value]) if isinstance(value, Dataset) else value)
    return item


def write(folder: Path, images: Iterable[Dataset]) -> Series:
    """Save the images and read them back as the node does."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, image in enumerate(images):
        path = folder / f"{index}.dcm"
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(path, enforce_file_format=True)
        paths.append(path)
    return series_of(paths)


def series_of(paths: Iterable[Path]) -> Series:
    """The series that files make, whatever their series UIDs say."""
    instances = tuple(
        StoredInstance(
            facts=read_instance_facts(Part10File(path)),
            file=Part10File(path),
            digest="0" * 64,
            size_bytes=path.stat().st_size,
        )
        for path in paths
    )
    first = instances[0].facts
    return Series(study_uid=first.study_uid, series_uid=first.series_uid, instances=instances)
