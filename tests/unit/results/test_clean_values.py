"""Received values become valid ones or empty ones, never an error."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.valuerep import validate_value
from result_requests import CREATED_AT, STUDY_UID

from dicom_node.records import Series
from dicom_node.results import ResultRequest, write_results
from dicom_node.results.clean_values import cleaned, decode, known_character_sets
from inference.findings import Findings, Status

REPRESENTATIONS = ("AS", "CS", "DA", "DS", "LO", "LT", "PN", "SH", "ST", "TM")


@given(st.sampled_from(REPRESENTATIONS), st.text(max_size=300))
def test_whatever_comes_out_may_be_written(representation: str, text: str) -> None:
    validate_value(representation, cleaned(representation, text), config.RAISE)


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_any_bytes_decode_in_any_character_set(raw: bytes, character_sets: bytes) -> None:
    assert isinstance(decode(raw, known_character_sets(character_sets)), str)


@pytest.mark.parametrize(
    ("representation", "text", "expected"),
    [
        ("DA", "2020.01.31", "20200131"),
        ("DA", "2020-01-31", "20200131"),
        ("DA", "20200230", ""),
        ("DA", "ANON", ""),
        ("TM", "10:11:12.5", "101112.5"),
        ("TM", "101112.1234567", "101112.123456"),
        ("TM", "250000", ""),
        ("AS", "048Y", "048Y"),
        ("AS", "48Y", ""),
        ("AS", "fifty", ""),
        ("DS", "72.5", "72.5"),
        ("DS", "nan", ""),
        ("DS", "1.23456789012345678", ""),
        ("CS", "yes", "YES"),
        ("CS", "über", ""),
        ("LO", "a\x00b\x1fc ", "abc"),
        ("LO", "first\\second", "first"),
        ("SH", "x" * 30, "x" * 16),
        ("PN", "A" * 80 + "^B=C=D=E", "A" * 64 + "=C=D"),
        ("PN", "Doe^Jane==", "Doe^Jane"),
        ("LT", "two\r\nlines\x07", "two\r\nlines"),
    ],
)
def test_common_flaws(representation: str, text: str, expected: str) -> None:
    assert cleaned(representation, text) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"ISO_IR 100", ("ISO_IR 100",)),
        (b"iso-ir 192 ", ("ISO_IR 192",)),
        (b"ISO IR 100", ("ISO_IR 100",)),
        (b"\\ISO 2022 IR 87", ("", "ISO 2022 IR 87")),
        (b"rot13", ()),
        (b"", ()),
    ],
)
def test_character_sets(raw: bytes, expected: tuple[str, ...]) -> None:
    assert known_character_sets(raw) == expected


def test_text_beyond_its_character_set_is_taken_for_utf8_or_latin1() -> None:
    assert decode("Müller".encode(), ()) == "Müller"
    assert decode("Müller".encode("latin-1"), ()) == "Müller"
    assert decode("Müller".encode("latin-1"), ("ISO_IR 100",)) == "Müller"


def test_a_flawed_header_does_not_keep_results_from_being_written(
    make_request: Callable[..., ResultRequest], tmp_path: Path
) -> None:
    request = make_request(Status.NOT_ANALYSED)
    flaws = {
        0x00100010: ("PN", b"O'Neil \x01Jr. " + b"x" * 90),
        0x00100020: ("LO", b"PID\\" + b"9" * 70),
        0x00100030: ("DA", b"1.2.1970"),
        0x00100040: ("CS", b"female"),
        0x00101010: ("AS", b"56"),
        0x00080020: ("DA", b"2026/03/13"),
        0x00080030: ("TM", b"10:11:12"),
        0x00080050: ("SH", b"ACCESSION-NUMBER-TOO-LONG-BY-FAR"),
        0x00101030: ("DS", b"seventy"),
        0x00080201: ("SH", b"CEST"),
    }
    for instance in request.instances:
        data_set = dcmread(instance.file.path)
        for tag, (representation, value) in flaws.items():
            data_set._dict[Tag(tag)] = RawDataElement(
                Tag(tag), representation, len(value), value + b" " * (len(value) % 2), 0, False, True
            )
        data_set.save_as(instance.file.path)

    for item in write_results(request, tmp_path / "out"):
        written = dcmread(item.path)
        assert str(written.PatientName) == "O'Neil Jr. " + "x" * 53
        assert written.PatientID == "PID"
        assert (written.PatientBirthDate, written.PatientSex) == ("", "")
        assert (written.StudyDate, written.StudyTime) == ("20260313", "101112")
        assert written.AccessionNumber == "ACCESSION-NUMBER"
        assert "PatientAge" not in written
        assert "PatientWeight" not in written
        assert "TimezoneOffsetFromUTC" not in written


def test_without_any_readable_instance_the_study_is_still_named(tmp_path: Path) -> None:
    request = ResultRequest(
        study_uid=STUDY_UID,
        series=(Series(study_uid=STUDY_UID, series_uid="1.2.3", instances=()),),
        decisions=(),
        findings=Findings(pipeline="", status=Status.NOT_ANALYSED, reason="nothing readable", models=()),
        volume=None,
        sources=(),
        chosen_series_uid=None,
        created_at=CREATED_AT,
        settings_digest="",
        software_version="0.1.0",
    )
    for item in write_results(request, tmp_path / "out"):
        assert dcmread(item.path).StudyInstanceUID == STUDY_UID
