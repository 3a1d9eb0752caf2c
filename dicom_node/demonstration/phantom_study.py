"""A phantom as a DICOM study: CT images as a scanner would write them, and the truth as a DICOM SEG.

Owns the encoding of generated patients (CT Image Storage, PS3.3 A.3; Segmentation, PS3.3 A.51). Everything, UIDs
and dates included, follows from the arguments: the same call writes the same study.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM, format_number_as_ds

from dicom_node.results import codes
from dicom_node.results.regions import REGIONS
from dicom_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, phantom_uid
from inference.findings import Region
from inference.phantoms import Phantom, chest_ct
from inference.phantoms.clot_boxes import clot_boxes
from inference.phantoms.ctpa import ctpa

KINDS: Final = {"ct": chest_ct, "ctpa": ctpa}
"""The kinds of phantom that this version makes."""
PATIENT_NAME: Final = "PHANTOM^CHEST"
STUDY_DATE: Final = "20260101"
"""Generated patients have no date of their own; a fixed one keeps the files the same."""
RESCALE_INTERCEPT: Final = -1024
"""HU of stored value 0, as scanners of 12 bits have it."""
TUBE_KV: Final = "120"
PAINTED: Final = "painted"
MAKER: Final = "dicom-node phantom"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomStudy:
    """What was written.

    ``folder`` holds the images; ``truth`` is the SEG with lungs, infected region and, of an angiogram, emboli. Beside
    that lies ``boxes.json`` then: of each instance the boxes around its emboli, as ``findings.json`` has them.
    """

    folder: Path
    images: tuple[Path, ...]
    truth: Path
    study_uid: str
    series_uid: str
    phantom: Phantom


def write_phantom_study(
    out: Path,
    *,
    kind: str,
    slices: int,
    size_px: int,
    seed: int,
    normal: bool = False,
    truth_folder: Path | None = None,
) -> PhantomStudy:
    """Write a study into ``out``, and its truth into ``truth_folder`` (``out/truth`` where none is given).

    Raises ``ValueError`` for a kind, size or number of slices that there is no phantom of.
    """
    if kind not in KINDS:
        raise ValueError(f"there are no phantoms of kind {kind!r}; there are {', '.join(KINDS)}")
    phantom = KINDS[kind](seed=seed, slices=slices, size_px=size_px, normal=normal)
    study = (kind, slices, size_px, seed, "normal" if normal else "diseased")
    return _write(out, phantom, study, truth_folder=truth_folder)


def write_painted_study(out: Path, phantom: Phantom, *, seed: int, source: str) -> PhantomStudy:
    """Write a real angiogram into which clots were painted, as a study of its own without the patient's data.

    ``source``: Frame of Reference UID that it was painted in; with ``seed`` it makes the UIDs.
    """
    slices, size_px, _ = phantom.volume.array_zyx.shape
    return _write(out, phantom, ("ctpa", slices, size_px, seed, PAINTED, source), truth_folder=None)


def _write(out: Path, phantom: Phantom, study: tuple[str | int, ...], *, truth_folder: Path | None) -> PhantomStudy:
    out.mkdir(parents=True, exist_ok=True)
    images: list[Dataset] = []
    paths: list[Path] = []
    for k in range(len(phantom.volume.array_zyx)):
        image = _image(phantom, k, study)
        paths.append(out / f"IM{image.InstanceNumber:04d}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
        del image.PixelData  # the segmentation needs geometry and patient only
        images.append(image)
    truth = (out / "truth" if truth_folder is None else truth_folder) / "truth.dcm"
    truth.parent.mkdir(parents=True, exist_ok=True)
    _truth(phantom, images, study).save_as(truth)
    if phantom.clots is not None:
        boxes = _boxes(phantom.clots, images, pixel_mm=phantom.volume.spacing_xyz_mm[0])
        truth.with_name("boxes.json").write_text(json.dumps(boxes, indent=1) + "\n", encoding="utf-8")
    return PhantomStudy(
        folder=out,
        images=tuple(paths),
        truth=truth,
        study_uid=images[0].StudyInstanceUID,
        series_uid=images[0].SeriesInstanceUID,
        phantom=phantom,
    )


def _image(phantom: Phantom, k: int, study: tuple[str | int, ...]) -> Dataset:
    """One slice as CT Image Storage."""
    image = Dataset()
    image.file_meta = _file_meta(phantom_uid(*study, "image", k))
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, image.file_meta.MediaStorageSOPInstanceUID
    _patient_and_study(image, study)
    _series(image, study)
    _geometry(image, phantom, k)
    if phantom.clots is not None:
        image.ContrastBolusAgent = "Synthetic contrast"
    _pixels(image, phantom.volume.array_zyx[k])
    if phantom.clots is not None:
        image.WindowCenter, image.WindowWidth = "100", "700"
        image.WindowCenterWidthExplanation = "ANGIO"
    return image


def _file_meta(instance_uid: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta


def _patient_and_study(image: Dataset, study: tuple[str | int, ...]) -> None:
    kind, slices, size_px, seed, health, *_ = study
    image.PatientName = PATIENT_NAME
    image.PatientID = f"PHANTOM-{kind}-{seed}".upper()
    image.PatientBirthDate = ""
    image.PatientSex = "O"
    image.StudyInstanceUID = phantom_uid(*study, "study")
    image.StudyDate = STUDY_DATE
    image.StudyTime = "120000"
    image.StudyID = str(seed)[-16:]
    image.AccessionNumber = ""
    image.ReferringPhysicianName = ""
    what = "chest CT" if kind == "ct" else "CTPA"
    made = "Emboli painted on a real" if health == PAINTED else "Synthetic"
    image.StudyDescription = f"{made} {what}, {health}, {slices} x {size_px}"


def _series(image: Dataset, study: tuple[str | int, ...]) -> None:
    image.Modality = "CT"
    image.SeriesInstanceUID = phantom_uid(*study, "series")
    image.SeriesNumber = 2
    image.SeriesDate = image.AcquisitionDate = image.ContentDate = STUDY_DATE
    image.SeriesTime = image.AcquisitionTime = image.ContentTime = "120100"
    image.SeriesDescription = "Chest, synthetic phantom" if study[0] == "ct" else "CT pulmonary angiogram, phantom"
    image.BodyPartExamined = "CHEST"
    image.PatientPosition = "HFS"
    image.ProtocolName = "Phantom"
    image.Manufacturer = MAKER
    image.ManufacturerModelName = "Chest CT phantom"
    image.DeviceSerialNumber = "0"
    image.SoftwareVersions = IMPLEMENTATION_VERSION_NAME
    image.KVP = TUBE_KV
    image.ConvolutionKernel = "PHANTOM"
    image.AcquisitionNumber = 1


def _geometry(image: Dataset, phantom: Phantom, k: int) -> None:
    """Frame of reference and image plane (PS3.3 C.7.4.1, C.7.6.2). Instances are numbered from the head down."""
    volume = phantom.volume
    spacing_x, spacing_y, spacing_z = volume.spacing_xyz_mm
    directions = volume.index_to_patient[:3, :2] / (spacing_x, spacing_y)
    image.FrameOfReferenceUID = phantom_uid(str(image.SeriesInstanceUID), "frame of reference")
    image.PositionReferenceIndicator = ""
    image.ImagePositionPatient = _decimals(volume.patient_mm(index_ijk=(0.0, 0.0, float(k))))
    image.ImageOrientationPatient = _decimals(directions.T.ravel().tolist())
    image.PixelSpacing = _decimals((spacing_y, spacing_x))
    image.SliceThickness = format_number_as_ds(phantom.slice_thickness_mm)
    image.SpacingBetweenSlices = format_number_as_ds(spacing_z)
    image.SliceLocation = image.ImagePositionPatient[2]
    image.InstanceNumber = len(volume.array_zyx) - k


def _pixels(image: Dataset, slice_hu: NDArray[np.int16]) -> None:
    """Image pixel and CT image modules (PS3.3 C.7.6.3, C.8.2.1)."""
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = slice_hu.shape
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = 1
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = str(RESCALE_INTERCEPT), "1", "HU"
    image.WindowCenter, image.WindowWidth = "-600", "1500"
    image.WindowCenterWidthExplanation = "LUNG"
    stored = slice_hu.astype("<i2") - np.int16(RESCALE_INTERCEPT)
    image.PixelData = stored.astype("<i2").tobytes()


def _boxes(clots: NDArray[np.bool_], images: list[Dataset], *, pixel_mm: float) -> dict[str, list[list[float]]]:
    """SOP Instance UID → boxes left, top, right, bottom, in pixels from outer corner to outer corner."""
    found = ((image, clot_boxes(one, pixel_mm=pixel_mm)) for image, one in zip(images, clots, strict=True))
    return {str(image.SOPInstanceUID): boxes.tolist() for image, boxes in found if len(boxes)}


def _truth(phantom: Phantom, images: list[Dataset], study: tuple[str | int, ...]) -> Segmentation:
    """Lungs, infected region and emboli, one segment each; a region without voxels has no frames."""
    masks = {
        Region.LEFT_LUNG: phantom.left_lung,
        Region.RIGHT_LUNG: phantom.right_lung,
        Region.INFECTED_REGION: phantom.infected,
    }
    described = [region for region in REGIONS if masks[region.region].any()]
    pixels = [masks[region.region] for region in described]
    segments = [
        SegmentDescription(
            segment_number=number,
            segment_label=region.label,
            segmented_property_category=region.category,
            segmented_property_type=region.type,
            algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
            anatomic_regions=[region.anatomic_region],
            tracking_id=f"phantom {region.region.value}",
            tracking_uid=phantom_uid(*study, "tracking", region.region.value),
            display_color=CIELabColor.from_rgb(*region.colour_rgb),
        )
        for number, region in enumerate(described, start=1)
    ]
    if phantom.clots is not None and phantom.clots.any():
        pixels.append(phantom.clots)
        segments.append(_emboli(len(pixels), study))
    segmentation = Segmentation(
        source_images=images,
        pixel_array=np.stack(pixels, axis=-1),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=phantom_uid(*study, "truth series"),
        series_number=100,
        sop_instance_uid=phantom_uid(*study, "truth"),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name="Chest CT phantom",
        software_versions=IMPLEMENTATION_VERSION_NAME,
        device_serial_number="0",
        content_label="TRUTH",
        content_description="What is true of this synthetic patient",
        content_creator_name=PATIENT_NAME,
        omit_empty_frames=True,
    )
    segmentation.SeriesDescription = "Truth of the phantom"
    _date(segmentation, study)
    return segmentation


def _emboli(number: int, study: tuple[str | int, ...]) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label="Pulmonary emboli",
        segmented_property_category=codes.MORPHOLOGICALLY_ABNORMAL,
        segmented_property_type=codes.EMBOLUS,
        algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
        anatomic_regions=[codes.PULMONARY_ARTERY],
        tracking_id="phantom emboli",
        tracking_uid=phantom_uid(*study, "tracking", "emboli"),
        display_color=CIELabColor.from_rgb(255, 80, 80),
    )


def _date(segmentation: Segmentation, study: tuple[str | int, ...]) -> None:
    """A fixed date and our dimension UID in place of the clock's and a random one."""
    segmentation.InstanceCreationDate = segmentation.SeriesDate = segmentation.ContentDate = DA(STUDY_DATE)
    segmentation.InstanceCreationTime = segmentation.SeriesTime = segmentation.ContentTime = TM("120200")
    for equipment in segmentation.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in equipment:
            del equipment.ContributionDateTime
    uid = phantom_uid(*study, "dimensions")
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def _decimals(values: tuple[float, ...] | list[float]) -> list[str]:
    return [format_number_as_ds(float(value)) for value in values]
