"""``findings.json`` keeps the names that other people's scripts read."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from result_requests import EMBOLI, with_embolism

from dicom_node.results import ResultRequest, findings_document
from inference.findings import Presence, Status

MakeRequest = Callable[..., ResultRequest]


def document(request: ResultRequest) -> dict:
    return json.loads(json.dumps(findings_document(request), allow_nan=False))


def test_a_positive_study(make_request: MakeRequest) -> None:
    request = make_request()

    found = document(request)

    assert (found["study_uid"], found["series_uid"]) == (request.study_uid, request.chosen_series_uid)
    assert (found["pipeline"], found["status"], found["reason"]) == ("lung_lesions", "positive", "")
    assert {"name", "version", "digest", "licence"} <= set(found["models"][0])
    assert found["lesions"]["volume_ml"] == 186.0
    assert [component["number"] for component in found["lesions"]["components"]] == [1, 2]
    assert found["lesions"]["components"][0]["sop_uids"] == ["1.2.826.2.5", "1.2.826.2.13"]
    severity = found["severity"]
    assert [severity[key] for key in ("total_percent", "left_percent", "right_percent")] == [22.8, 13.6, 31.2]
    assert severity["six_zone"]["score"] == 7
    assert [zone["score"] for zone in severity["six_zone"]["zones"]] == [0, 1, 3, 0, 1, 2]
    assert severity["six_zone"]["scale"]
    assert severity["six_zone"]["citation"]
    assert "ct_severity_score" not in severity
    assert found["timings_s"] == {"lungs_unet": 1.25, "infection_unet": 1.5}
    assert found["decisions"][0]["reason"].startswith("chosen")


def test_a_study_with_emboli(make_request: MakeRequest) -> None:
    request = with_embolism(make_request())

    found = document(request)

    assert (found["pipeline"], found["status"]) == ("pulmonary_embolism", "positive")
    assert found["classification"] == {"pulmonary_embolism": {"presence": "present", "probability": 0.934}}
    assert (found["lesions"], found["severity"]) == (None, None), "nobody looked for them"
    embolism = found["embolism"]
    assert embolism["probability"] == 0.934
    assert [one["sop_uid"] for one in embolism["slices"]] == [source.sop_instance_uid for source in request.sources]
    assert embolism["slices"][2]["probability"] == 0.06
    first, second = embolism["emboli"]
    assert (first["number"], first["side"], first["probability"]) == (1, "right", 0.87)
    assert (second["side"], second["extent_xyz_mm"]) == (None, [11.2, 11.2, 10.0])
    assert [box["sop_uid"] for box in first["boxes"]] == [request.sources[k].sop_instance_uid for k in (7, 8, 9)]
    assert first["boxes"][0]["box_xyxy_px"] == [14.25, 20.5, 18.75, 23.0]
    assert (first["boxes"][0]["score"], first["boxes"][0]["frame"]) == (0.61, 1)
    uids = [one["tracking_uid"] for one in (first, second, *first["boxes"], *second["boxes"])]
    assert len(set(uids)) == len(EMBOLI) + 4


def test_boxes_on_a_multi_frame_image_name_their_frames(make_request: MakeRequest) -> None:
    request = with_embolism(make_request(multi_frame=True))

    (first, _) = document(request)["embolism"]["emboli"]

    assert [box["frame"] for box in first["boxes"]] == [request.sources[k].frame_number for k in (7, 8, 9)]


def test_a_study_without_embolism_says_so_and_lists_none(make_request: MakeRequest) -> None:
    found = document(with_embolism(make_request(), Presence.ABSENT))

    assert found["status"] == "negative"
    assert found["classification"]["pulmonary_embolism"]["presence"] == "absent"
    assert (found["embolism"]["probability"], found["embolism"]["emboli"]) == (0.031, [])


def test_where_nobody_looked_for_emboli_there_is_no_embolism(make_request: MakeRequest) -> None:
    found = document(make_request())

    assert (found["classification"], found["embolism"]) == (None, None)


def test_a_negative_study_has_zeros(make_request: MakeRequest) -> None:
    found = document(make_request(Status.NEGATIVE))

    assert found["status"] == "negative"
    assert found["lesions"] == {"volume_ml": 0.0, "components": []}
    assert found["severity"]["total_percent"] == 0.0


def test_a_study_that_was_not_analysed_has_no_numbers(make_request: MakeRequest) -> None:
    found = document(make_request(Status.NOT_ANALYSED))

    assert found["status"] == "not_analysed"
    assert found["reason"]
    assert (found["series_uid"], found["lesions"], found["severity"]) == (None, None, None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_becomes_null(make_request: MakeRequest, value: float) -> None:
    request = make_request()
    lesion = replace(request.findings.lesions[0], mean_hu=value)
    request = replace(request, findings=replace(request.findings, lesions=(lesion,)))

    assert document(request)["lesions"]["components"][0]["mean_hu"] is None
