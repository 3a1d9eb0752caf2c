"""The pipeline: emboli of a phantom are found on their side, what is no angiogram is refused, disagreement is told."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.engines.embedded import EmbeddedEngine
from inference.findings import Condition, Findings, ModelIdentity, Presence, Status
from inference.model import ModelSpec, Tensors
from inference.models.angiogram_preparation import Field, prepared_slices
from inference.phantoms import Phantom, chest_ct
from inference.phantoms.clot_boxes import clot_boxes
from inference.phantoms.ctpa import ctpa
from inference.pipelines import run_pipeline
from inference.pipelines.pulmonary_embolism import GATE, gated

REPOSITORY = Path(__file__).parents[3] / "triton_models"
SEED = 2026
"""Has large clots, some of them central."""


@pytest.fixture(scope="module")
def engine() -> EmbeddedEngine:
    return EmbeddedEngine(repository=REPOSITORY)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return ctpa(seed=SEED, slices=100, size_px=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overruled:
    """An engine whose two embolism models say what they are told to; the lungs are the real ones."""

    real: EmbeddedEngine
    probability: float
    box: NDArray[np.float32] | None
    rows: dict[str, int] = field(default_factory=dict)
    """How many slices each model was shown."""

    def identity(self, spec: ModelSpec) -> ModelIdentity:
        return self.real.identity(spec)

    def run(self, spec: ModelSpec, inputs: Tensors, *, cancelled: Callable[[], bool] | None = None) -> Tensors:
        count = len(next(iter(inputs.values())))
        self.rows[spec.name] = self.rows.get(spec.name, 0) + count
        if spec.name == "pe_classifier":
            one = np.array([1 - self.probability, self.probability], np.float32)
            return {"probabilities": np.tile(one, (count, 1))}
        if spec.name == "pe_detector":
            boxes = np.zeros((count, 16, 5), np.float32)
            if self.box is not None:
                boxes[:, 0] = self.box
            return {"boxes": boxes}
        return self.real.run(spec, inputs, cancelled=cancelled)

    def close(self) -> None:
        """Nothing to free."""


def said(phantom: Phantom, engine: EmbeddedEngine, probability: float, box: list[float] | None) -> Findings:
    given = None if box is None else np.array(box, np.float32)
    return run_pipeline(
        "pulmonary_embolism", phantom.volume, Overruled(real=engine, probability=probability, box=given)
    )


def test_emboli_of_a_phantom_are_found(phantom: Phantom, engine: EmbeddedEngine) -> None:
    findings = run_pipeline("pulmonary_embolism", phantom.volume, engine)
    assert findings.status is Status.POSITIVE
    assert phantom.clots is not None
    classification = findings.classification(Condition.PULMONARY_EMBOLISM)
    assert classification is not None
    assert len(classification.slice_probabilities) == 100
    true = {k: clot_boxes(phantom.clots[k], pixel_mm=phantom.volume.spacing_xyz_mm[0]) for k in range(100)}
    touching = [
        box
        for embolus in findings.emboli
        for box in embolus.boxes
        for left, top, right, bottom in true[box.slice_index]
        if box.box_xyxy_px[0] < right and box.box_xyxy_px[2] > left
        and box.box_xyxy_px[1] < bottom and box.box_xyxy_px[3] > top
    ]  # fmt: skip
    assert len(touching) >= 3
    assert {identity.name for identity in findings.models} == {"pe_classifier", "pe_detector", "lungs_unet"}


def test_a_plain_chest_ct_is_not_analysed(engine: EmbeddedEngine) -> None:
    findings = run_pipeline("pulmonary_embolism", chest_ct(seed=3, slices=100, size_px=128).volume, engine)
    assert findings.status is Status.NOT_ANALYSED
    assert findings.reason.startswith("not a CT pulmonary angiogram: no contrast")


def test_a_patient_who_moved_is_not_analysed(phantom: Phantom, engine: EmbeddedEngine) -> None:
    source = np.arange(100)
    for number, first in enumerate((25, 40, 55, 70)):
        source[first:] += 5 if number % 2 == 0 else -5
    moved = replace(phantom.volume, array_zyx=phantom.volume.array_zyx[np.clip(source, 0, 99)])
    findings = run_pipeline("pulmonary_embolism", moved, engine)
    assert findings.status is Status.NOT_ANALYSED
    assert "the patient moved during the scan" in findings.reason


def test_without_lungs_nothing_is_analysed(phantom: Phantom, engine: EmbeddedEngine) -> None:
    """The heart and the vessels have their contrast; the lungs are full of water."""
    array = phantom.volume.array_zyx.copy()
    array[phantom.left_lung | phantom.right_lung] = 20
    findings = run_pipeline("pulmonary_embolism", replace(phantom.volume, array_zyx=array), engine)
    assert findings.status is Status.NOT_ANALYSED
    assert "no lungs found" in findings.reason
    assert not findings.emboli
    assert not findings.classifications


def test_boxes_end_at_the_edge_of_the_picture(phantom: Phantom, engine: EmbeddedEngine) -> None:
    findings = said(phantom, engine, 0.9, [-500, -500, 1000, 1000, 0.9])
    (embolus,) = findings.emboli
    assert {box.box_xyxy_px for box in embolus.boxes} == {(0.0, 0.0, 256.0, 256.0)}


def test_lungs_of_thin_slices_are_looked_for_on_some_of_them(phantom: Phantom, engine: EmbeddedEngine) -> None:
    """Between every two slices a third one: no more slices for the lung model, twice as many for the classifier."""
    volume = phantom.volume
    array = np.repeat(volume.array_zyx, 2, axis=0)
    array[1:-1:2] = (array[:-2:2].astype(np.int32) + array[2::2]) // 2
    fine = replace(volume, array_zyx=array, index_to_patient=volume.index_to_patient @ np.diag([1, 1, 0.5, 1]))
    shown = Overruled(real=engine, probability=0.2, box=None)
    findings = run_pipeline("pulmonary_embolism", fine, shown)
    assert findings.status is Status.NEGATIVE
    assert shown.rows["lungs_unet"] == 100
    both = phantom.left_lung | phantom.right_lung
    with_lung = np.flatnonzero(both.any(axis=(1, 2)))
    assert shown.rows["pe_classifier"] == pytest.approx(2 * (with_lung[-1] - with_lung[0] + 1), abs=8)


@pytest.mark.parametrize(
    ("probability", "box", "presence", "status"),
    [
        (0.9, [150, 200, 170, 220, 0.8], Presence.PRESENT, Status.POSITIVE),
        (0.2, None, Presence.ABSENT, Status.NEGATIVE),
        (0.2, [150, 200, 170, 220, 0.8], Presence.INDETERMINATE, Status.POSITIVE),
        (0.9, None, Presence.INDETERMINATE, Status.POSITIVE),
        (0.01, [150, 200, 170, 220, 0.8], Presence.ABSENT, Status.NEGATIVE),  # the gate let no slice pass
    ],
)
def test_both_models_decide_together(
    phantom: Phantom,
    engine: EmbeddedEngine,
    probability: float,
    box: list[float] | None,
    presence: Presence,
    status: Status,
) -> None:
    findings = said(phantom, engine, probability, box)
    classification = findings.classification(Condition.PULMONARY_EMBOLISM)
    assert classification is not None
    assert (classification.presence, findings.status) == (presence, status)
    assert ("disagree" in " ".join(findings.notes)) == (presence is Presence.INDETERMINATE)
    if findings.emboli:
        (embolus,) = findings.emboli
        assert embolus.extent_xyz_mm[:2] == pytest.approx((14.0, 14.0))  # 20 pixels of 0.7 mm
        assert embolus.side is not None


def test_the_gate_widens_what_the_classifier_suspects() -> None:
    probabilities = np.zeros(20, np.float32)
    probabilities[[5, 19]] = GATE
    assert np.flatnonzero(gated(probabilities, slice(4, 18))).tolist() == [4, 5, 6, 7, 17]


def test_prepared_pictures_and_boxes_lie_on_the_same_places(phantom: Phantom) -> None:
    """A voxel made bright is found at the place of its box."""
    volume = phantom.volume
    array = np.full_like(volume.array_zyx, -500)
    array[40, 100:110, 130:150] = 500
    volume = type(volume)(
        array_zyx=array, index_to_patient=volume.index_to_patient, frame_of_reference_uid=volume.frame_of_reference_uid
    )
    place = Field(centre_xy_px=(128.0, 128.0), pixel_xy_mm=volume.spacing_xyz_mm[:2])
    left, top, right, bottom = place.from_volume(np.array([130.0, 100, 150, 110]))
    (picture,) = prepared_slices(volume, place, slice(40, 41))
    rows, columns = np.nonzero(picture[1] > 100)
    assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == pytest.approx(
        [left, top, right, bottom], abs=1.1
    )
    assert not (picture[[0, 2]] > 100).any()  # 3 mm slices: the neighbours are others
    back = place.to_volume(np.array([left, top, right, bottom]))
    assert back == pytest.approx([130, 100, 150, 110])
