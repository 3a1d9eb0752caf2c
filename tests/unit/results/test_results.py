"""What holds for every object of every kind of study: valid, of its study, in a series of its own, repeatable."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from result_requests import with_embolism

from dicom_node.records import ResultKind, Series, SeriesDecision
from dicom_node.results import BUILDERS, ResultRequest, write_results
from dicom_node.uids import IMPLEMENTATION_CLASS_UID
from inference.findings import Presence, Status

MakeRequest = Callable[..., ResultRequest]
EVERY_TEXT = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "StudyDescription",
    "SeriesDescription",
    "SeriesNumber",
    "BodyPartExamined",
]
STUDIES: dict[str, dict[str, Any]] = {
    "positive": {},
    "negative": {"status": Status.NEGATIVE},
    "not analysed": {"status": Status.NOT_ANALYSED},
    "enhanced": {"multi_frame": True},
    "oblique, feet first": {"oblique": True, "downwards": True},
    "many lesions": {"lesions": 47},
    "no lungs found": {"regions": ()},
    "empty header": dict.fromkeys(EVERY_TEXT),
    "latin-1": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg", "StudyDescription": "Schädel"},
    "japanese": {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    },
    "identity removed": {"PatientIdentityRemoved": "YES"},
    "lossy": {"LossyImageCompression": "01"},
    "embolism": {},
    "embolism, enhanced": {"multi_frame": True},
    "embolism, oblique": {"oblique": True, "downwards": True},
    "embolism, no lungs found": {"regions": ()},
    "no embolism": {},
    "perhaps embolism, latin-1": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg"},
}
EMBOLISM = {study: Presence.PRESENT for study in STUDIES if study.startswith("embolism")} | {
    "no embolism": Presence.ABSENT,
    "perhaps embolism, latin-1": Presence.INDETERMINATE,
}


def dciodvfy_errors(path: Path) -> list[str]:
    program = shutil.which("dciodvfy")
    assert program, "dicom3tools are not installed"
    done = subprocess.run([program, "-new", path], capture_output=True, text=True, check=False)
    return [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("study", STUDIES)
def test_the_objects_of_any_study_are_valid_and_the_same_again(
    make_request: MakeRequest, tmp_path: Path, study: str
) -> None:
    request = make_request(**STUDIES[study])
    if study in EMBOLISM:
        request = with_embolism(request, EMBOLISM[study])

    first = write_results(request, tmp_path / "first")
    second = write_results(request, tmp_path / "second")

    assert {ResultKind.REPORT, ResultKind.SUMMARY} <= {item.kind for item in first}
    for one, other in zip(first, second, strict=True):
        assert dciodvfy_errors(one.path) == []
        assert one.path.read_bytes() == other.path.read_bytes()
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == sorted(item.path.name for item in first)


def test_objects_belong_to_the_study_in_series_of_their_own(make_request: MakeRequest, tmp_path: Path) -> None:
    request = with_embolism(make_request(), lesions=True)

    written = write_results(request, tmp_path / "out")

    read = [dcmread(item.path) for item in written]
    for item, data_set in zip(written, read, strict=True):
        assert data_set.StudyInstanceUID == request.study_uid
        assert (data_set.PatientName, data_set.PatientID) == ("Doe^Jane", "P-001")
        assert (data_set.AccessionNumber, data_set.StudyDate) == ("A1", "20260313")
        assert (data_set.ContentDate, data_set.ContentTime) == ("20260314", "150926")
        assert data_set.SeriesDescription.startswith("AI research: ")
        assert data_set.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
        assert (item.sop_instance_uid, item.sop_class_uid) == (data_set.SOPInstanceUID, data_set.SOPClassUID)
        assert item.series_uid == data_set.SeriesInstanceUID
    assert len({data_set.SeriesInstanceUID for data_set in read} | {request.chosen_series_uid}) == len(BUILDERS) + 1
    assert len({data_set.SeriesNumber for data_set in read}) == len(BUILDERS)


def test_another_model_other_settings_or_another_source_give_other_uids(
    make_request: MakeRequest, tmp_path: Path
) -> None:
    request = make_request(Status.NEGATIVE)
    model = replace(request.findings.models[0], digest="00")
    late = replace(request.series[0].instances[0].facts, sop_instance_uid="1.2.826.7", series_uid="1.2.826.8")
    late_series = Series(
        study_uid=request.study_uid,
        series_uid="1.2.826.8",
        instances=(replace(request.series[0].instances[0], facts=late),),
    )
    variants = [
        request,
        replace(request, findings=replace(request.findings, models=(model,))),
        replace(request, settings_digest="other"),
        replace(request, series=(*request.series, late_series)),
    ]
    uids = [
        {item.sop_instance_uid for item in write_results(variant, tmp_path / str(number))}
        for number, variant in enumerate(variants)
    ]
    assert len(set.union(*uids)) == sum(map(len, uids))


def test_a_new_software_version_keeps_the_uids(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request()
    uids = [
        [item.sop_instance_uid for item in write_results(each, tmp_path / each.software_version)]
        for each in (request, replace(request, software_version="9.9.9"))
    ]
    assert uids[0] == uids[1]


def test_dates_follow_the_time_zone_of_the_source(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request(TimezoneOffsetFromUTC="+1100")

    for item in write_results(request, tmp_path / "out"):
        data_set = dcmread(item.path)
        assert data_set.TimezoneOffsetFromUTC == "+1100"
        assert (data_set.ContentDate, data_set.ContentTime) == ("20260315", "020926")
        assert data_set.StudyTime == "101112"


def test_names_keep_their_characters(make_request: MakeRequest, tmp_path: Path) -> None:
    for study, character_set in (("latin-1", "ISO_IR 100"), ("japanese", "ISO_IR 192")):
        request = make_request(**STUDIES[study])
        for item in write_results(request, tmp_path / study):
            data_set = dcmread(item.path)
            assert data_set.SpecificCharacterSet == character_set
            assert str(data_set.PatientName) == STUDIES[study]["PatientName"]


def test_a_reason_beyond_the_source_character_set_is_still_readable(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request(
        Status.NOT_ANALYSED, reason="no pipeline reads “頭部” ≥ 5 mm", SpecificCharacterSet="ISO_IR 100"
    )

    for item in write_results(request, tmp_path / "out"):
        assert dciodvfy_errors(item.path) == []
        assert dcmread(item.path).SpecificCharacterSet == "ISO_IR 192"


def test_a_study_of_which_nothing_can_be_read_still_has_its_report(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request(Status.NOT_ANALYSED, reason="no instance can be read")
    for instance in request.instances:
        instance.file.path.write_bytes(b"no DICOM")
    without_instances = replace(
        request, series=(), decisions=(SeriesDecision(series_uid="1.2.3", pipeline=None, reason="not readable"),)
    )
    for number, each in enumerate((request, without_instances)):
        for item in write_results(each, tmp_path / str(number)):
            assert dciodvfy_errors(item.path) == []
            assert dcmread(item.path).StudyInstanceUID == request.study_uid


def test_an_instance_of_a_private_class_is_evidence_like_any_other(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request(Status.NOT_ANALYSED)
    (series,) = request.series
    stored = series.instances[0]
    private = replace(stored, facts=replace(stored.facts, sop_class_uid="1.3.12.2.1107.5.9.1", modality="OT"))
    request = replace(request, series=(replace(series, instances=(private,)),))

    report = dcmread(write_results(request, tmp_path / "out")[0].path)

    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (referenced,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert referenced.ReferencedSOPClassUID == "1.3.12.2.1107.5.9.1"


@pytest.mark.parametrize(
    "changes",
    [
        {"created_at": "naive"},
        {"sources": ()},
        {"volume": None, "sources": ()},
    ],
)
def test_parts_that_do_not_belong_together_are_a_fault(make_request: MakeRequest, changes: dict[str, Any]) -> None:
    request = make_request()
    if "created_at" in changes:
        changes = {"created_at": (request.created_at + timedelta(0)).replace(tzinfo=None)}
    with pytest.raises(ValueError, match=r"time zone|sources|grid"):
        replace(request, **changes)
