"""Synthetic studies as requests for results: small CT series on disk, with lungs, lesions and findings."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from dicom_node.headers import read_instance_facts
from dicom_node.records import FrameSource, Part10File, Series, SeriesDecision, StoredInstance
from dicom_node.results import ResultRequest
from inference.findings import (
    Box,
    Classification,
    Condition,
    Embolus,
    Findings,
    Involvement,
    Lesion,
    Mask,
    ModelIdentity,
    Presence,
    Region,
    SeverityScore,
    Side,
    Status,
    Zone,
)
from inference.volume import Volume

SLICES, ROWS, COLUMNS = 24, 48, 64
CREATED_AT = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
LUNGS_MODEL = ModelIdentity(
    name="lungs_unet",
    version="1.2.0",
    digest="ab" * 32,
    trained_on="16 public COVID-19 CT cases and phantoms",
    licence="CC BY-NC-SA 4.0, research only",
)
INFECTION_MODEL = ModelIdentity(
    name="infection_unet",
    version="1.0.3",
    digest="cd" * 32,
    trained_on="16 public COVID-19 CT cases and phantoms",
    licence="CC BY-NC-SA 4.0, research only",
)
EMBOLI_MODEL = ModelIdentity(
    name="emboli_detector",
    version="1.0.0",
    digest="ef" * 32,
    trained_on="phantoms",
    licence="MIT",
)
PROBABILITIES = {Presence.PRESENT: 0.934, Presence.ABSENT: 0.031, Presence.INDETERMINATE: 0.447}
EMBOLI = (
    Embolus(
        number=1,
        side=Side.RIGHT,
        probability=0.87,
        extent_xyz_mm=(28.0, 16.8, 30.0),
        boxes=(
            Box(slice_index=7, box_xyxy_px=(14.25, 20.5, 18.75, 23.0), score=0.61),
            Box(slice_index=8, box_xyxy_px=(14.0, 20.0, 19.0, 23.0), score=0.87),
            Box(slice_index=9, box_xyxy_px=(15.0, 20.0, 18.0, 22.5), score=0.55),
        ),
    ),
    Embolus(
        number=2,
        side=None,
        probability=0.52,
        extent_xyz_mm=(11.2, 11.2, 10.0),
        boxes=(Box(slice_index=8, box_xyxy_px=(44.0, 25.0, 46.0, 27.0), score=0.52),),
    ),
)
STUDY_UID, SERIES_UID, FRAME_OF_REFERENCE_UID = "1.2.826.1.1", "1.2.826.1.2", "1.2.826.1.3"


def anatomy() -> dict[Region, NDArray[np.bool_]]:
    """Two lungs and two lesions, in slices whose index grows upwards (towards the head)."""
    z, y, x = np.mgrid[0:SLICES, 0:ROWS, 0:COLUMNS].astype(float)
    height = ((z - 11.5) / 10.5) ** 2

    def ball(cx: float, cy: float, cz: float, rx: float, ry: float, rz: float) -> NDArray[np.bool_]:
        return np.asarray(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 <= 1)

    right = ((x - 19) / 11) ** 2 + ((y - 24) / 15) ** 2 + height <= 1
    left = ((x - 45) / 10) ** 2 + ((y - 24) / 15) ** 2 + height <= 1
    infected = (ball(17, 30, 8, 7, 6, 5) & right) | (ball(46, 28, 14, 4, 4, 3) & left)
    return {Region.LEFT_LUNG: left, Region.RIGHT_LUNG: right, Region.INFECTED_REGION: infected}


def hounsfield(regions: dict[Region, NDArray[np.bool_]]) -> NDArray[np.int16]:
    """A body in air with lungs and lesions, int16 HU, (z, y, x)."""
    z, y, x = np.mgrid[0:SLICES, 0:ROWS, 0:COLUMNS].astype(float)
    body = ((x - 32) / 29) ** 2 + ((y - 24) / 21) ** 2 <= 1
    array = np.where(body, 40, -1000) + 10 * np.sin(x + 2 * y + 3 * z)
    array[regions[Region.LEFT_LUNG] | regions[Region.RIGHT_LUNG]] = -850
    array[regions[Region.INFECTED_REGION]] = -450
    return array.astype(np.int16)


def affine(*, oblique: bool = False, downwards: bool = False) -> NDArray[np.float64]:
    """Index to patient, LPS, mm; oblique: tilted by 20 degrees about the patient's left-right axis."""
    angle = np.deg2rad(20.0 if oblique else 0.0)
    along_rows, along_columns = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), np.sin(angle)])
    normal = np.cross(along_rows, along_columns) * (-1 if downwards else 1)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = 5.6 * along_rows, 5.6 * along_columns, 10.0 * normal
    matrix[:3, 3] = (-176.4, -131.7, 115.0 if downwards else -115.0)
    return matrix


def header(**changes: Any) -> Dataset:
    """Patient and study attributes, with changes (a value of ``None`` leaves the attribute out)."""
    values: dict[str, Any] = {
        "PatientName": "Doe^Jane",
        "PatientID": "P-001",
        "PatientBirthDate": "19700102",
        "PatientSex": "F",
        "PatientAge": "056Y",
        "StudyDate": "20260313",
        "StudyTime": "101112",
        "ReferringPhysicianName": "House^Gregory",
        "StudyID": "S1",
        "AccessionNumber": "A1",
        "StudyDescription": "CT Thorax",
        "SeriesDescription": "Lung 5.0",
        "SeriesNumber": 3,
        "BodyPartExamined": "CHEST",
        **changes,
    }
    data_set = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(data_set, keyword, value)
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = STUDY_UID, SERIES_UID
    data_set.FrameOfReferenceUID = FRAME_OF_REFERENCE_UID
    data_set.Modality = "CT"
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    return data_set


def write(data_set: Dataset, path: Path) -> StoredInstance:
    """The data set as a file, and what the node knows of it."""
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.save_as(path, enforce_file_format=True)
    file = Part10File(path)
    return StoredInstance(facts=read_instance_facts(file), file=file, digest="", size_bytes=path.stat().st_size)


def single_frames(
    array_zyx: NDArray[np.int16], matrix: NDArray[np.float64], folder: Path, **changes: Any
) -> tuple[StoredInstance, ...]:
    """One CT Image file a slice, Instance Number against the order of the slices."""
    instances = []
    for k, plane in enumerate(array_zyx):
        data_set = header(**changes)
        data_set.SOPClassUID, data_set.SOPInstanceUID = CTImageStorage, f"1.2.826.2.{k + 1}"
        data_set.InstanceNumber = len(array_zyx) - k
        data_set.ImagePositionPatient = [f"{value:.6g}" for value in matrix[:3, 3] + k * matrix[:3, 2]]
        data_set.ImageOrientationPatient = [f"{value:.9g}" for value in [*matrix[:3, 0] / 5.6, *matrix[:3, 1] / 5.6]]
        data_set.PixelSpacing, data_set.SliceThickness = ["5.6", "5.6"], "10"
        _pixels(data_set, plane)
        instances.append(write(data_set, folder / f"ct{k:03d}.dcm"))
    return tuple(instances)


def enhanced(array_zyx: NDArray[np.int16], matrix: NDArray[np.float64], folder: Path) -> tuple[StoredInstance, ...]:
    """One Enhanced CT file whose frames run against the order of the slices."""
    data_set = header()
    data_set.SOPClassUID, data_set.SOPInstanceUID = EnhancedCTImageStorage, "1.2.826.2.1"
    data_set.InstanceNumber, data_set.NumberOfFrames = 1, len(array_zyx)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [f"{value:.9g}" for value in [*matrix[:3, 0] / 5.6, *matrix[:3, 1] / 5.6]]
    measures.PixelSpacing, measures.SliceThickness = ["5.6", "5.6"], "10"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    data_set.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for k in reversed(range(len(array_zyx))):
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = [f"{value:.6g}" for value in matrix[:3, 3] + k * matrix[:3, 2]]
        group.PlanePositionSequence = [position]
        groups.append(group)
    data_set.PerFrameFunctionalGroupsSequence = groups
    _pixels(data_set, array_zyx[::-1])
    return (write(data_set, folder / "enhanced.dcm"),)


def _pixels(data_set: Dataset, array: NDArray[np.int16]) -> None:
    data_set.Rows, data_set.Columns = array.shape[-2:]
    data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation = 16, 16, 15, 1
    data_set.RescaleIntercept, data_set.RescaleSlope = "0", "1"
    data_set.PixelData = array.tobytes()


def findings(status: Status, masks: dict[Region, NDArray[np.bool_]], *, lesions: int = 2, reason: str = "") -> Findings:
    """Findings in keeping with the masks; numbers are made up where tests do not look at them."""
    if status is Status.NOT_ANALYSED:
        return Findings(pipeline="lung_lesions", status=status, reason=reason, models=())
    positive = status is Status.POSITIVE
    zones = tuple(
        Zone(name=f"{side} {height}", percent=12.5 * score, score=score)
        for (side, height), score in zip(
            [(side, height) for side in ("right", "left") for height in ("upper", "middle", "lower")],
            (0, 1, 3, 0, 1, 2) if positive else (0,) * 6,
            strict=True,
        )
    )
    return Findings(
        pipeline="lung_lesions",
        status=status,
        reason="",
        models=(LUNGS_MODEL, INFECTION_MODEL),
        masks=tuple(
            Mask(region=region, array_zyx=array, model=LUNGS_MODEL if "lung" in region.value else INFECTION_MODEL)
            for region, array in masks.items()
        ),
        lesions=tuple(
            Lesion(
                number=number,
                side=(Side.RIGHT, Side.LEFT, Side.BILATERAL)[(number - 1) % 3],
                volume_ml=124.3 / number,
                extent_xyz_mm=(78.4, 67.2, 90.0),
                centroid_mm=(-80.0, 20.0, -30.0),
                slices=(4, 12),
                mean_hu=-450.0,
            )
            for number in range(1, lesions + 1)
        )
        if positive
        else (),
        involvement=Involvement(
            total_percent=22.8 if positive else 0.0,
            left_percent=13.6 if positive else 0.0,
            right_percent=31.2 if positive else 0.0,
            left_lung_ml=1890.0,
            right_lung_ml=2210.0,
            infected_ml=186.0 if positive else 0.0,
        ),
        severity=(
            SeverityScore(
                scale="Six-zone CT score",
                citation="Chung M et al., Radiology 2020;295:202-207",
                score=sum(zone.score for zone in zones),
                maximum=24,
                zones=zones,
            ),
        ),
        notes=("Slices are thicker than 3 mm: small lesions may be missed.",),
        timings_s={"lungs_unet": 1.25, "infection_unet": 1.5},
    )


def make_request(
    tmp_path: Path,
    status: Status = Status.POSITIVE,
    *,
    oblique: bool = False,
    downwards: bool = False,
    multi_frame: bool = False,
    regions: tuple[Region, ...] = tuple(Region),
    lesions: int = 2,
    reason: str = "slices are 10 mm apart, the pipeline needs 5 mm or less",
    **changes: Any,
) -> ResultRequest:
    masks = anatomy()
    if status is Status.NEGATIVE:
        masks[Region.INFECTED_REGION][:] = False
    array_zyx = hounsfield(masks)
    if downwards:
        array_zyx = np.ascontiguousarray(array_zyx[::-1])
        masks = {region: np.ascontiguousarray(array[::-1]) for region, array in masks.items()}
    matrix = affine(oblique=oblique, downwards=downwards)
    folder = tmp_path / f"study{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    if multi_frame:
        instances = enhanced(array_zyx, matrix, folder)
        frames = [(instances[0], SLICES - k) for k in range(SLICES)]
    else:
        instances = single_frames(array_zyx, matrix, folder, **changes)
        frames = [(instance, 1) for instance in instances]
    request = ResultRequest(
        study_uid=STUDY_UID,
        series=(Series(study_uid=STUDY_UID, series_uid=SERIES_UID, instances=instances),),
        decisions=(
            SeriesDecision(series_uid=SERIES_UID, pipeline="lung_lesions", reason="chosen: axial, 10 mm, 24 slices"),
        ),
        findings=findings(status, {region: masks[region] for region in regions}, lesions=lesions, reason=reason),
        volume=Volume(array_zyx=array_zyx, index_to_patient=matrix, frame_of_reference_uid=FRAME_OF_REFERENCE_UID),
        sources=tuple(
            FrameSource(
                sop_instance_uid=instance.facts.sop_instance_uid,
                sop_class_uid=instance.facts.sop_class_uid,
                frame_number=number,
                file=instance.file,
            )
            for instance, number in frames
        ),
        chosen_series_uid=SERIES_UID,
        created_at=CREATED_AT,
        settings_digest="5e" * 32,
        software_version="0.1.0",
    )
    if status is Status.NOT_ANALYSED:
        return replace(request, volume=None, sources=(), chosen_series_uid=None)
    return request


def with_embolism(
    request: ResultRequest, presence: Presence = Presence.PRESENT, *, lesions: bool = False
) -> ResultRequest:
    """The same study as the pipeline for pulmonary embolism reports it; with ``lesions``, both pipelines in one."""
    scores = tuple(round(0.03 * k, 2) for k in range(SLICES))
    found = Findings(
        pipeline="pulmonary_embolism",
        status=Status.NEGATIVE if presence is Presence.ABSENT else Status.POSITIVE,
        reason="",
        models=(EMBOLI_MODEL,),
        masks=tuple(mask for mask in request.findings.masks if mask.region is not Region.INFECTED_REGION),
        classifications=(
            Classification(
                condition=Condition.PULMONARY_EMBOLISM,
                presence=presence,
                probability=PROBABILITIES[presence],
                slice_probabilities=scores,
            ),
        ),
        emboli=() if presence is Presence.ABSENT else EMBOLI,
    )
    if lesions:
        found = replace(request.findings, classifications=found.classifications, emboli=found.emboli)
    return replace(request, findings=found)
