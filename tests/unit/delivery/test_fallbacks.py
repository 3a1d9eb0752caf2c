"""The table of stand-ins: no line ends before it has come to something that every study has."""

from pathlib import Path

import pytest

from dicom_node.delivery.fallbacks import FALLBACKS, stand_ins
from dicom_node.records import ResultKind, ResultObject

ALWAYS_WRITTEN = {ResultKind.REPORT, ResultKind.SUMMARY}


def written(*kinds: ResultKind) -> list[ResultObject]:
    return [
        ResultObject(kind=kind, sop_instance_uid=f"1.{kind.value}", sop_class_uid="1", series_uid="1", path=Path("/r"))
        for kind in kinds
    ]


@pytest.mark.parametrize("kind", ResultKind)
def test_every_line_comes_to_both_kinds_that_every_study_has(kind: ResultKind) -> None:
    line, current = {kind}, FALLBACKS[kind]
    while current not in line:
        line.add(current)
        current = FALLBACKS[current]
    assert line >= ALWAYS_WRITTEN


def test_only_what_was_written_can_stand_in() -> None:
    assert stand_ins(written(ResultKind.SEGMENTATION, ResultKind.REPORT)) == {}
    assert stand_ins(written(ResultKind.SEGMENTATION, ResultKind.SUMMARY, ResultKind.REPORT)) == {
        "1.segmentation": "1.summary", "1.summary": "1.report", "1.report": "1.summary",
    }  # fmt: skip
