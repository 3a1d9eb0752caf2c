"""A case as DICOM files, and where each of its frames lies in truth.

Owns the encoding of the three image classes that the node reads: CT Image (PS3.3 A.3), Enhanced CT (A.38.1) and Legacy
Converted Enhanced CT (A.70). The truth of a frame is what is painted into it, under its instance and frame number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM, format_number_as_ds

from benchmarks.geometry.grids import Case, Form, Order
from benchmarks.geometry.phantom import Paint, Plane, painted
from dicom_node.uids import phantom_uid

DATE, TIME = "20260101", "120000"
RESCALE_INTERCEPT = -1024
MARKED_FRAME = 0.4
"""Of the study's frames; which one, counted from the start of the normal."""
MARKED_PIXEL = (11, 23)
"""Row and column of the marker."""
ENHANCED_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One frame as it was written."""

    sop_instance_uid: str
    frame_number: int
    """1 in single-frame objects, too."""
    plane: Plane
    hu: NDArray[np.int16]
    """(rows, columns), in ``Paint``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One case on disk."""

    case: Case
    folder: Path
    study_uid: str
    frames: tuple[Frame, ...]
    """Along the normal."""

    @property
    def marked(self) -> Frame:
        """The frame that holds the marker."""
        (frame,) = (frame for frame in self.frames if (frame.hu == Paint.MARKER).any())
        return frame


def write_study(case: Case, folder: Path) -> Study:
    """Write the case; the names of the files are in the order in which they are to be sent."""
    folder.mkdir(parents=True)
    planes = _planes(case)
    pictures = [painted(plane, case.grid.shape[1:]) for plane in planes]
    pictures[int(len(planes) * MARKED_FRAME)][MARKED_PIXEL] = Paint.MARKER
    if case.repeats:
        planes, pictures = planes * 2, pictures + [np.full_like(picture, Paint.BODY) for picture in pictures]
    numbers = _numbers(case.order, len(planes))
    if case.form in (Form.SINGLE, Form.LEGACY):
        images = [_single(case, plane, hu, number) for plane, hu, number in zip(planes, pictures, numbers, strict=True)]
    else:
        images = _enhanced_parts(case, planes, pictures, numbers)
    if case.form is Form.LEGACY:
        images = [_converted(case, sorted(images, key=lambda image: int(image.InstanceNumber)))]
    for image in images:
        image.save_as(folder / f"{int(image.InstanceNumber):04d}.dcm", enforce_file_format=True)
    placed = _placed(case, images, numbers)
    return Study(
        case=case,
        folder=folder,
        study_uid=phantom_uid("geometry", case.name, "study"),
        frames=tuple(
            Frame(sop_instance_uid=uid, frame_number=number, plane=plane, hu=hu)
            for (uid, number), plane, hu in zip(placed, planes, pictures, strict=True)
        ),
    )


def _planes(case: Case) -> list[Plane]:
    """What the headers will say, digits cut as they cut them."""
    grid = case.grid
    planes = []
    for position in grid.positions_mm():
        written = position if case.position_decimals is None else position.round(case.position_decimals)
        x, y, z = (float(value) for value in _decimals(written))
        planes.append(
            Plane(
                position_mm=(x, y, z),
                orientation=tuple(float(value) for value in _decimals(grid.orientation)),
                spacing_mm=grid.spacing_mm,
            )
        )
    return planes


def _numbers(order: Order, count: int) -> list[int]:
    """Instance or frame number of each frame along the normal, from 1."""
    if order is Order.ALONG:
        return list(range(1, count + 1))
    if order is Order.AGAINST:
        return list(range(count, 0, -1))
    return [int(number) + 1 for number in np.random.default_rng(count).permutation(count)]


def _placed(case: Case, images: Sequence[Dataset], numbers: Sequence[int]) -> list[tuple[str, int]]:
    """Instance and frame number of each frame along the normal."""
    by_number: list[tuple[str, int]] = []
    for image in sorted(images, key=lambda image: int(image.InstanceNumber)):
        held = int(image.get("NumberOfFrames", 1))
        by_number += [(str(image.SOPInstanceUID), frame) for frame in range(1, held + 1)]
    return [by_number[number - 1] for number in numbers]


def _image(case: Case, sop_class_uid: UID, number: int) -> Dataset:
    """Patient, study, series, equipment and pixel layout."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = sop_class_uid, phantom_uid("geometry", case.name, "image", number)
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = sop_class_uid
    image.file_meta.MediaStorageSOPInstanceUID = UID(image.SOPInstanceUID)
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.PatientName, image.PatientID = "PHANTOM^GEOMETRY", "PHANTOM-GEOMETRY"
    image.PatientBirthDate, image.PatientSex = "", "O"
    image.StudyInstanceUID = phantom_uid("geometry", case.name, "study")
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = DA(DATE)
    image.StudyTime = image.SeriesTime = image.AcquisitionTime = image.ContentTime = TM(TIME)
    image.StudyID, image.AccessionNumber, image.ReferringPhysicianName = "1", "", ""
    image.StudyDescription = "Geometry"
    image.Modality = "CT"
    image.SeriesInstanceUID = phantom_uid("geometry", case.name, "series")
    image.SeriesNumber, image.InstanceNumber, image.AcquisitionNumber = 2, number, 1
    image.SeriesDescription = "Chest, painted"
    image.PatientPosition = case.patient_position
    image.FrameOfReferenceUID = phantom_uid("geometry", case.name, "frame of reference")
    image.PositionReferenceIndicator = ""
    image.Manufacturer, image.ManufacturerModelName = "dicom-node geometry", "Painted phantom"
    image.DeviceSerialNumber, image.SoftwareVersions = "0", "1"
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    return image


def _put_pixels(image: Dataset, hu: NDArray[np.int16]) -> None:
    image.Rows, image.Columns = hu.shape[-2:]
    image.PixelData = (hu - np.int16(RESCALE_INTERCEPT)).astype("<u2").tobytes()


def _single(case: Case, plane: Plane, hu: NDArray[np.int16], number: int) -> Dataset:
    image = _image(case, CTImageStorage, number)
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.BodyPartExamined, image.KVP, image.ConvolutionKernel = "CHEST", "120", "PAINT"
    image.ImagePositionPatient = _decimals(plane.position_mm)
    image.ImageOrientationPatient = _decimals(plane.orientation)
    image.PixelSpacing = _decimals(plane.spacing_mm)
    image.SliceThickness = format_number_as_ds(min(case.grid.distance_mm, 5.0))
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = str(RESCALE_INTERCEPT), "1", "HU"
    _put_pixels(image, hu)
    return image


def _converted(case: Case, images: Sequence[Dataset]) -> Dataset:
    converted: Dataset = hd.legacy.LegacyConvertedEnhancedCTImage(
        list(images),
        series_instance_uid=images[0].SeriesInstanceUID,
        series_number=2,
        sop_instance_uid=phantom_uid("geometry", case.name, "converted"),
        instance_number=1,
    )
    converted.PixelRepresentation, converted.BitsStored, converted.HighBit = 0, 12, 11
    return converted


def _enhanced_parts(
    case: Case, planes: Sequence[Plane], pictures: Sequence[NDArray[np.int16]], numbers: Sequence[int]
) -> list[Dataset]:
    """Frames in the order of their numbers, in one instance or three."""
    order = np.argsort(numbers)
    parts = np.array_split(order, 3 if case.form is Form.ENHANCED_PARTS else 1)
    return [
        _enhanced(case, [planes[n] for n in part], np.stack([pictures[n] for n in part]), number)
        for number, part in enumerate(parts, start=1)
    ]


def _enhanced(case: Case, planes: Sequence[Plane], hu: NDArray[np.int16], number: int) -> Dataset:
    image = _image(case, EnhancedCTImageStorage, number)
    image.ImageType = ENHANCED_TYPE
    image.AcquisitionDateTime = f"{DATE}{TIME}"
    image.PixelPresentation, image.VolumetricProperties = "MONOCHROME", "VOLUME"
    image.VolumeBasedCalculationTechnique, image.ContentQualification = "NONE", "RESEARCH"
    image.BurnedInAnnotation, image.LossyImageCompression, image.PresentationLUTShape = "NO", "00", "IDENTITY"
    image.AcquisitionContextSequence = []
    image.NumberOfFrames = len(planes)
    organization = phantom_uid("geometry", case.name, "dimensions")
    image.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    image.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=0x00209057,
            FunctionalGroupPointer=0x00209111,
            DimensionDescriptionLabel="In-Stack Position Number",
        )
    ]
    common = _common_groups(case, planes[0])
    shared = case.form is Form.ENHANCED
    image.SharedFunctionalGroupsSequence = [_item(**common) if shared else Dataset()]
    image.PerFrameFunctionalGroupsSequence = [
        _item(
            **({} if shared else common),
            FrameContentSequence=[
                _item(StackID="1", InStackPositionNumber=n, DimensionIndexValues=[n], FrameAcquisitionNumber=1)
            ],
            PlanePositionSequence=[_item(ImagePositionPatient=_decimals(plane.position_mm))],
        )
        for n, plane in enumerate(planes, start=1)
    ]
    _put_pixels(image, hu)
    return image


def _common_groups(case: Case, plane: Plane) -> dict[str, list[Dataset]]:
    """What all frames have in common, wherever it is written."""
    region = hd.sr.CodedConcept.from_code(codes.SCT.Chest)
    return {
        "PixelMeasuresSequence": [
            _item(PixelSpacing=_decimals(plane.spacing_mm), SliceThickness=str(min(case.grid.distance_mm, 5.0)))
        ],
        "PlaneOrientationSequence": [_item(ImageOrientationPatient=_decimals(plane.orientation))],
        "FrameAnatomySequence": [_item(FrameLaterality="U", AnatomicRegionSequence=[region])],
        "IrradiationEventIdentificationSequence": [
            _item(IrradiationEventUID=phantom_uid("geometry", case.name, "irradiation event"))
        ],
        "PixelValueTransformationSequence": [
            _item(RescaleIntercept=str(RESCALE_INTERCEPT), RescaleSlope="1", RescaleType="HU")
        ],
        "CTImageFrameTypeSequence": [
            _item(
                FrameType=ENHANCED_TYPE,
                PixelPresentation="MONOCHROME",
                VolumetricProperties="VOLUME",
                VolumeBasedCalculationTechnique="NONE",
            )
        ],
    }


def _item(**attributes: object) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _decimals(values: Sequence[float] | NDArray[np.float64]) -> list[str]:
    return [format_number_as_ds(float(value)) for value in values]
