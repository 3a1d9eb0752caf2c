"""Boxes read back from a measurement report against boxes of a truth."""

import json
from pathlib import Path

import numpy as np
import pytest

from dicom_node.demonstration.box_agreement import boxes_against_truth, boxes_of_report
from dicom_node.results import write_results
from tests.unit.results.result_requests import EMBOLI, make_request, with_embolism


def test_boxes_are_read_back_and_counted_against_a_truth(tmp_path: Path) -> None:
    request = with_embolism(make_request(tmp_path))
    paths = {one.kind.value: one.path for one in write_results(request, tmp_path / "results")}
    boxes = [box for embolus in EMBOLI for box in embolus.boxes]
    found = boxes_of_report(paths["measurements"])
    assert sum(map(len, found.values())) == len(boxes)
    first = boxes[0]
    np.testing.assert_allclose(
        found[request.sources[first.slice_index].sop_instance_uid][0], [*first.box_xyxy_px, first.score], atol=0.01
    )

    missed = request.sources[0].sop_instance_uid
    truth = {uid: rows[:, :4].tolist() for uid, rows in found.items()} | {missed: [[1, 1, 9, 9]]}
    (tmp_path / "boxes.json").write_text(json.dumps(truth))
    agreement = boxes_against_truth(paths["measurements"], tmp_path / "boxes.json")
    assert (agreement.found, agreement.hits, agreement.true) == (len(boxes), len(boxes), len(boxes) + 1)
    assert agreement.average_precision == pytest.approx(len(boxes) / (len(boxes) + 1))

    nothing = boxes_against_truth(None, tmp_path / "boxes.json")
    assert (nothing.found, nothing.hits, nothing.average_precision) == (0, 0, 0.0)

    with pytest.raises(ValueError, match="no measurement report"):
        boxes_of_report(paths["report"])
