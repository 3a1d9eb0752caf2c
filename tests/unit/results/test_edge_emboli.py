"""Emboli at the ends of the scan, at the picture's edges, beside each other, on no known side: all results hold."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import pytest
from result_requests import SLICES, with_embolism
from test_results import dciodvfy_errors

from dicom_node.records import ResultKind
from dicom_node.results import ResultRequest, findings_document, write_results
from inference.findings import Box, Embolus, Findings, Presence, Side

MakeRequest = Callable[..., ResultRequest]
LAST = SLICES - 1


def embolus(number: int, *boxes: Box, side: Side | None = None) -> Embolus:
    return Embolus(number=number, side=side, probability=0.9, extent_xyz_mm=(5.0, 5.0, 10.0), boxes=boxes)


def box(k: int, *xyxy: float) -> Box:
    left, top, right, bottom = xyxy
    return Box(slice_index=k, box_xyxy_px=(left, top, right, bottom), score=0.9)


def edge_cases(columns: int, rows: int) -> dict[str, tuple[Embolus, ...]]:
    return {
        "first slice": (embolus(1, box(0, 10, 10, 20, 20)),),
        "last slice": (embolus(1, box(LAST, 10, 10, 20, 20)),),
        "whole picture": (embolus(1, box(5, 0, 0, columns, rows)),),
        "far corner": (embolus(1, box(5, columns - 1.5, rows - 1.5, columns, rows)),),
        "two on one slice": (embolus(1, box(5, 10, 10, 20, 20)), embolus(2, box(5, 12, 10, 22, 20), side=Side.LEFT)),
        "a gap of one slice": (embolus(1, box(5, 10, 10, 20, 20), box(7, 10, 10, 20, 20)),),
        "from end to end": (embolus(1, *(box(k, 10, 10, 20, 20) for k in range(SLICES))),),
    }


def request_with(base: ResultRequest, emboli: tuple[Embolus, ...]) -> ResultRequest:
    """No masks: as of a study in which the lungs' sides are not known."""
    found: Findings = with_embolism(base, Presence.PRESENT).findings
    return replace(base, findings=replace(found, emboli=emboli, masks=()))


@pytest.mark.parametrize("case", edge_cases(1, 1))
def test_every_object_is_valid_and_every_box_is_where_it_was(
    make_request: MakeRequest, tmp_path: Path, case: str
) -> None:
    base = make_request()
    assert base.volume is not None
    _, rows, columns = base.volume.array_zyx.shape
    emboli = edge_cases(columns, rows)[case]
    request = request_with(base, emboli)

    written = {one.kind: one.path for one in write_results(request, tmp_path / "out")}

    assert set(written) == set(ResultKind) - {ResultKind.SEGMENTATION}
    for path in written.values():
        assert dciodvfy_errors(path) == []
    expected = [
        (request.sources[one.slice_index].sop_instance_uid, *one.box_xyxy_px) for each in emboli for one in each.boxes
    ]
    groups = hd.sr.srread(written[ResultKind.MEASUREMENTS]).content.get_planar_roi_measurement_groups()
    found = [
        (group.roi.ContentSequence[0].referenced_sop_instance_uid, *group.roi.value[0], *group.roi.value[2])
        for group in groups
    ]
    assert found == expected
    assert [group.finding_sites[0].laterality is not None for group in groups] == [
        each.side is not None for each in emboli for _ in each.boxes
    ]
    stated = json.loads(json.dumps(findings_document(request)))["embolism"]["emboli"]
    assert [(one["sop_uid"], *one["box_xyxy_px"]) for each in stated for one in each["boxes"]] == expected
    assert [each["side"] for each in stated] == [each.side.value if each.side else None for each in emboli]
