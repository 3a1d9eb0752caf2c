"""Which series is read, in which order, and the reason of every other one: by table."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import (
    ComprehensiveSRStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
)

from dicom_node.records import FrameGeometry, InstanceFacts, Part10File, Series, StoredInstance
from dicom_node.routing import Rules, choose, load_rules

SHIPPED = load_rules(Path(__file__).parents[3] / "config" / "pipelines.toml").only("lung_lesions")
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
TURNED = (1.0, 0.0, 0.0, 0.0, 0.766, 0.643)


def series(
    number: int | None,
    *,
    slices: int = 133,
    distance_mm: float = 2.0,
    orientation: tuple[float, float, float, float, float, float] | None = AXIAL,
    uid: str = "",
    **facts: Any,
) -> Series:
    """A good chest series, but for what is said otherwise."""
    base = InstanceFacts(
        sop_instance_uid="1.2.3",
        sop_class_uid=CTImageStorage,
        study_uid="1.2",
        series_uid=uid or f"1.2.{number}",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="CT",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        series_number=number,
        series_description="",
        instance_number=None,
        body_part="CHEST",
        kernel="",
        contrast_agent="",
        slice_thickness_mm=2.0,
        gantry_tilt_deg=None,
        rows=512,
        columns=512,
        frames=(),
        frame_of_reference_uid="1.2.9",
        burned_in_annotation="",
    )
    instances = []
    for index in range(slices):
        frame = FrameGeometry(
            position_mm=(0.0, index * distance_mm, index * distance_mm),
            orientation=orientation,
            spacing_mm=(0.7, 0.7),
            rescale_slope=1.0,
            rescale_intercept=-1024.0,
        )
        own = {"sop_instance_uid": f"1.2.3.{index}", "frames": (frame,), **facts}
        instances.append(
            StoredInstance(facts=replace(base, **own), file=Part10File(Path("unread.dcm")), digest="", size_bytes=1)
        )
    return Series(study_uid="1.2", series_uid=base.series_uid, instances=tuple(instances))


def reasons(*study: Series, rules: Rules = SHIPPED) -> list[str]:
    return [decision.reason for decision in choose(study, rules).decisions]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (series(1), "chosen: axial, 2 mm, 133 slices"),
        (series(1, body_part="", slice_thickness_mm=None), "chosen: axial, 2 mm, 133 slices"),
        (series(1, body_part="CHESTABDPELVIS"), "chosen: axial, 2 mm, 133 slices"),
        (series(1, body_part="ABDOMEN", series_description="Thx 1.0 Br59"), "chosen: axial, 2 mm, 133 slices"),
        (series(1, orientation=None), "chosen: 2 mm, 133 slices"),
        (series(1, orientation=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)), "chosen: axial, 2 mm, 133 slices"),
        (series(1, sop_class_uid=EnhancedCTImageStorage), "chosen: axial, 2 mm, 133 slices"),
        (series(1, slices=4), "chosen: axial, 2 mm, 4 slices"),
        (series(1, modality="SR", sop_class_uid=ComprehensiveSRStorage), "not analysed: modality SR"),
        (series(1, modality=""), "not analysed: modality not named"),
        (series(1, modality="<script>"), "not analysed: modality not named"),
        (
            series(1, sop_class_uid=SecondaryCaptureImageStorage, frames=()),
            "not analysed: Secondary Capture Image Storage: not an image class of this pipeline",
        ),
        (series(1, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")), "not analysed: localizer"),
        (series(1, image_type=("DERIVED", "SECONDARY", "CSA MPR")), "not analysed: image type MPR"),
        (series(1, series_description="Topogram 0.6"), "not analysed: series description like TOPOGRAM"),
        (series(1, body_part="HEAD"), "not analysed: body part is none of CHEST, THORAX, TORAX, …"),
        (series(1, orientation=CORONAL), "not analysed: coronal instead of axial"),
        (series(1, orientation=TURNED), "not analysed: oblique: 40° off axial"),
        (series(1, slice_thickness_mm=8.0), "not analysed: slices of 8 mm; at most 6 mm are read"),
        (series(1, slice_thickness_mm=0.1), "not analysed: slices of 0.1 mm; at least 0.3 mm are read"),
        (
            series(1, slice_thickness_mm=1.0, distance_mm=10),
            "not analysed: 10 mm from slice to slice; at most 7.5 mm are read",
        ),
    ],
)
def test_one_series(given: Series, reason: str) -> None:
    routing = choose([given], SHIPPED)
    (decision,) = routing.decisions
    assert decision.reason == reason
    assert (decision.pipeline is not None) == bool(routing.candidates) == reason.startswith("chosen")


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        pytest.param(
            [series(2, slice_thickness_mm=5.0, slices=53, distance_mm=5), series(3)],
            ["not analysed: 5 mm instead of 2 mm in series 3", "chosen: axial, 2 mm, 133 slices"],
            id="thinner first",
        ),
        pytest.param(
            [series(2, slice_thickness_mm=0.6), series(3, slice_thickness_mm=1.5, kernel="B60f")],
            ["not analysed: kernel suits less than in series 3", "chosen: axial, 1.5 mm, 133 slices"],
            id="down to the preferred thickness, then the kernel",
        ),
        pytest.param(
            [series(2, kernel="Br59f\\3"), series(3, kernel="B31f")],
            ["chosen: axial, 2 mm, 133 slices", "not analysed: kernel suits less than in series 2"],
            id="lung kernel before soft one",
        ),
        pytest.param(
            [series(2, image_type=("DERIVED", "PRIMARY", "AXIAL")), series(3)],
            ["not analysed: derived images; series 3 holds the original ones", "chosen: axial, 2 mm, 133 slices"],
            id="original before derived",
        ),
        pytest.param(
            [series(2, slice_thickness_mm=1.0, slices=20), series(3)],
            ["not analysed: 38 mm covered instead of 264 mm in series 3", "chosen: axial, 2 mm, 133 slices"],
            id="the whole chest before a thin part of it",
        ),
        pytest.param(
            [series(2, slices=400), series(3, slice_thickness_mm=1.5)],
            ["not analysed: 2 mm instead of 1.5 mm in series 3", "chosen: axial, 1.5 mm, 133 slices"],
            id="the whole body is no better than the whole chest",
        ),
        pytest.param(
            [series(2, slices=120), series(3)],
            ["not analysed: 120 slices instead of 133 in series 3", "chosen: axial, 2 mm, 133 slices"],
            id="more slices",
        ),
        pytest.param(
            [series(5), series(3)],
            ["not analysed: as good as series 3, which is analysed", "chosen: axial, 2 mm, 133 slices"],
            id="ties by number",
        ),
        pytest.param(
            [series(None, uid="1.2.8"), series(None, uid="1.2.7")],
            ["not analysed: as good as series 1.2.7, which is analysed", "chosen: axial, 2 mm, 133 slices"],
            id="ties by UID",
        ),
        pytest.param(
            [series(2, slices=4), series(3)],
            ["not analysed: only 4 slices; 10 are needed", "chosen: axial, 2 mm, 133 slices"],
            id="too few slices",
        ),
    ],
)
def test_several_series(study: list[Series], expected: list[str]) -> None:
    assert reasons(*study) == expected
    assert reasons(*study[::-1]) == expected[::-1]


def test_candidates_come_in_order_of_preference_with_their_reason() -> None:
    study = [series(1, slice_thickness_mm=5.0), series(2), series(3, body_part="HEAD"), series(4, slices=3)]
    candidates = choose(study, SHIPPED).candidates
    assert [(each.series_uid, each.pipeline, each.reason) for each in candidates] == [
        ("1.2.2", "lung_lesions", "chosen: axial, 2 mm, 133 slices"),
        ("1.2.1", "lung_lesions", "chosen: axial, 5 mm, 133 slices"),
    ]


def test_order_of_instances_changes_nothing() -> None:
    mixed = series(1, kernel="B60f").instances[:100] + series(1, kernel="B31f").instances[100:]
    forwards = Series(study_uid="1.2", series_uid="1.2.1", instances=mixed)
    backwards = replace(forwards, instances=mixed[::-1])
    other = series(2, kernel="B50f")
    assert reasons(forwards, other) == reasons(backwards, other)


def test_localizers_inside_a_series_do_not_stop_it() -> None:
    survey = series(1, slices=2, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), orientation=CORONAL)
    whole = replace(survey, instances=survey.instances + series(1).instances)
    assert reasons(whole) == ["chosen: axial, 2 mm, 133 slices"]


def test_received_text_never_goes_into_a_reason() -> None:
    texts: dict[str, Any] = {
        "series_description": "EVIL scout",
        "body_part": "EVIL",
        "kernel": "EVIL",
        "contrast_agent": "EVIL",
    }
    for key, text in texts.items():
        assert "EVIL" not in "".join(reasons(series(1, **{key: text}), series(2)))


@pytest.mark.parametrize(
    ("wanted", "agent", "reason"),
    [
        ("required", "Iopromid", "chosen: axial, 2 mm, 133 slices"),
        ("required", "", "not analysed: no contrast agent named"),
        ("required", "NONE", "not analysed: no contrast agent named"),
        ("forbidden", "Iopromid", "not analysed: with contrast agent"),
        ("forbidden", "", "chosen: axial, 2 mm, 133 slices"),
    ],
)
def test_contrast(wanted: str, agent: str, reason: str) -> None:
    rules = Rules.model_validate({"pipelines": {"embolism": {"contrast": wanted}}})
    assert reasons(series(1, contrast_agent=agent), rules=rules) == [reason]


def test_two_pipelines_each_have_their_say() -> None:
    rules = Rules.model_validate(
        {
            "pipelines": {
                "thin": {"slice_thickness_mm": {"maximum": 1.0}},
                "contrast": {"contrast": "required", "image_type": {"required": ["ORIGINAL"]}},
            }
        }
    )
    both = choose([series(1), series(2, contrast_agent="x", slice_thickness_mm=1.0)], rules)
    assert both.decisions[0].reason == (
        "not analysed: slices of 2 mm; at most 1 mm are read (thin); no contrast agent named (contrast)"
    )
    assert [(each.series_uid, each.pipeline) for each in both.candidates] == [("1.2.2", "thin"), ("1.2.2", "contrast")]


def test_no_series_no_decision() -> None:
    assert choose([], SHIPPED).decisions == ()
