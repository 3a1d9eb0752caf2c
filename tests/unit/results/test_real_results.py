"""Results of real studies: a patient's CT, and folders that cannot be analysed."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import config, dcmread
from pydicom.uid import UID
from result_requests import findings
from test_results import dciodvfy_errors

from dicom_node.headers import read_instance_facts
from dicom_node.records import FrameSource, Part10File, ResultKind, Series, SeriesDecision, StoredInstance
from dicom_node.results import ResultRequest, write_results
from dicom_node.uids import phantom_uid
from inference.findings import Region, Status
from inference.volume import Volume

pytestmark = pytest.mark.real_data


def stored(path: Path) -> StoredInstance:
    file = Part10File(path)
    return StoredInstance(facts=read_instance_facts(file), file=file, digest="", size_bytes=path.stat().st_size)


def named(path: Path, folder: Path) -> StoredInstance:
    """A copy with UIDs, which were taken out when this data was published; pixels untouched."""
    with config.disable_value_validation():
        data_set = dcmread(path)
        for keyword, uid in (
            ("StudyInstanceUID", phantom_uid("study")),
            ("SeriesInstanceUID", phantom_uid("series")),
            ("SOPInstanceUID", phantom_uid(path.name)),
            ("FrameOfReferenceUID", phantom_uid("frame of reference")),
        ):
            setattr(data_set, keyword, uid)
        data_set.file_meta.MediaStorageSOPInstanceUID = UID(phantom_uid(path.name))
        data_set.save_as(folder / path.name)
    return stored(folder / path.name)


def not_analysed(instances: tuple[StoredInstance, ...], reason: str) -> ResultRequest:
    by_series: dict[str, list[StoredInstance]] = {}
    for instance in instances:
        by_series.setdefault(instance.facts.series_uid, []).append(instance)
    study_uid = instances[0].facts.study_uid
    return ResultRequest(
        study_uid=study_uid,
        series=tuple(
            Series(study_uid=study_uid, series_uid=uid, instances=tuple(held)) for uid, held in by_series.items()
        ),
        decisions=tuple(SeriesDecision(series_uid=uid, pipeline=None, reason=reason) for uid in by_series),
        findings=findings(Status.NOT_ANALYSED, {}, reason=reason),
        volume=None,
        sources=(),
        chosen_series_uid=None,
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        settings_digest="5e" * 32,
        software_version="0.1.0",
    )


def test_a_patient_s_segmentation_lies_on_the_source_slices(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    paths = sorted((shared_data / "covid_ct_md" / "P002_covid").glob("*.dcm"))[40:60]
    instances = tuple(named(path, tmp_path / "study") for path in paths)
    # Published from head to feet; the volume counts along the normal, upwards.
    ordered = sorted(instances, key=lambda instance: instance.facts.frames[0].position_mm[2])  # type: ignore[index]
    frame = ordered[0].facts.frames[0]
    matrix = np.diag([*reversed(frame.spacing_mm), 2.0, 1.0])  # type: ignore[misc]
    matrix[:3, 3] = frame.position_mm
    masks = {region: np.zeros((20, 512, 512), dtype=bool) for region in Region}
    masks[Region.RIGHT_LUNG][2:18, 150:350, 60:220] = True
    masks[Region.LEFT_LUNG][2:18, 150:350, 300:460] = True
    masks[Region.INFECTED_REGION][5:9, 280:340, 380:440] = True
    request = replace(
        not_analysed(instances, ""),
        findings=findings(Status.POSITIVE, masks),
        volume=Volume(
            array_zyx=np.full((20, 512, 512), -800, dtype=np.int16),
            index_to_patient=matrix,
            frame_of_reference_uid=ordered[0].facts.frame_of_reference_uid,
        ),
        sources=tuple(
            FrameSource(
                sop_instance_uid=instance.facts.sop_instance_uid,
                sop_class_uid=instance.facts.sop_class_uid,
                frame_number=1,
                file=instance.file,
            )
            for instance in ordered
        ),
        chosen_series_uid=instances[0].facts.series_uid,
    )

    written = write_results(request, tmp_path / "out")

    assert [item.kind for item in written] == [kind for kind in ResultKind if kind is not ResultKind.MEASUREMENTS]
    assert [dciodvfy_errors(item.path) for item in written] == [[]] * len(written)
    segmentation = highdicom.seg.segread(written[0].path)
    pixels = segmentation.get_pixels_by_source_instance(
        [source.sop_instance_uid for source in request.sources],
        segment_numbers=[3],
        assert_missing_frames_are_empty=True,
    )[..., 0]
    np.testing.assert_array_equal(pixels.astype(bool), masks[Region.INFECTED_REGION])
    positions = {path: dcmread(path, stop_before_pixels=True) for path in {item.file.path for item in instances}}
    by_uid = {data_set.SOPInstanceUID: data_set.ImagePositionPatient for data_set in positions.values()}
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert list(group.PlanePositionSequence[0].ImagePositionPatient) == list(by_uid[source])
    assert segmentation.PatientID == "P002"


@pytest.mark.parametrize(
    "pattern",
    [
        "dicom_odd_geometry/dcm_qa_ct/philips_localizer.dcm",
        "dicom_odd_geometry/dcm_qa_ct/philips_dose_info_sc.dcm",
        "dicom_odd_geometry/dicom2nifti_gantrytilting/*.dcm",
        "dicom_odd_geometry/dicom2nifti_notavolume/*.dcm",
        "dicom_odd_geometry/dicom2nifti_sliceincrement/*.dcm",
        "dicom_odd_geometry/pydicom_data/eCT_Supplemental.dcm",
        "dicom_broken/truncated_j2k/*.dcm",
        "dicom_transfer_syntaxes/*.dcm",
        "seg_sr_references/*/*.dcm",
    ],
)
def test_what_cannot_be_analysed_still_gets_a_valid_report(shared_data: Path, tmp_path: Path, pattern: str) -> None:
    instances = [stored(path) for path in sorted(shared_data.glob(pattern))]
    assert instances
    studies = sorted({instance.facts.study_uid for instance in instances})
    for number, study_uid in enumerate(studies):
        held = tuple(instance for instance in instances if instance.facts.study_uid == study_uid)

        written = write_results(not_analysed(held, "a reason"), tmp_path / str(number))

        assert [item.kind for item in written] == [ResultKind.REPORT, ResultKind.SUMMARY]
        for item in written:
            assert dciodvfy_errors(item.path) == []
            assert dcmread(item.path).StudyInstanceUID == study_uid
