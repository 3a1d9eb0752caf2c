"""The limits of the parity gate for each kind of output: just within, and just beyond."""

import numpy as np
import pytest

from inference.engines.output_parity import OutputKind, boxes, kind_of, labels, outputs_agree, probabilities
from inference.model import TensorSpec
from inference.models import EVERY_MODEL

PICTURE = np.array([[[10, 10, 30, 30, 0.9], [50, 50, 60, 60, 0.4], [0, 0, 5, 5, 0.05], [0, 0, 0, 0, 0]]], np.float32)


def test_labels() -> None:
    mask = np.zeros((2, 100, 100), np.uint8)
    mask[:, 20:80, 20:80] = 1
    assert labels(mask, mask.copy()).holds
    less = mask.copy()
    less[:, 20:21] = 0
    assert not labels(mask, less).holds
    assert "Dice 0.99" in labels(mask, less).said


@pytest.mark.parametrize(("change", "holds"), [(0.0, True), (0.009, True), (0.011, False)])
def test_probabilities(change: float, holds: bool) -> None:
    expected = np.array([[0.2, 0.8], [0.7, 0.3]])
    assert probabilities(expected, expected + np.array([change, -change])).holds is holds


def test_a_probability_that_changes_sides() -> None:
    assert not probabilities(np.array([[0.501, 0.499]]), np.array([[0.499, 0.501]])).holds


def moved(column: int, by: float) -> np.ndarray:
    changed = PICTURE.copy()
    changed[0, 0, column] += by
    return changed


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (PICTURE[:, ::-1], True),
        (moved(0, 0.9), True),
        (moved(0, 1.2), False),
        (moved(4, 0.019), True),
        (moved(4, -0.021), False),
        (np.zeros_like(PICTURE), False),
    ],
)
def test_boxes(found: np.ndarray, holds: bool) -> None:
    assert boxes(PICTURE, found).holds is holds
    assert boxes(found, PICTURE).holds is holds


def test_noise_below_the_threshold_is_left_alone() -> None:
    noisy = PICTURE.copy()
    noisy[0, 2] = [80, 80, 90, 90, 0.1]
    assert boxes(PICTURE, noisy).holds
    assert boxes(np.zeros((2, 4, 5)), np.zeros((2, 4, 5))).holds


def test_every_model_has_limits() -> None:
    for model in EVERY_MODEL:
        assert {kind_of(one) for one in model.spec.outputs} <= set(OutputKind)
        nothing = {one.name: np.zeros((1, *one.shape), one.dtype) for one in model.spec.outputs}
        assert outputs_agree(model.spec, nothing, nothing).holds
    with pytest.raises(ValueError, match="of no kind"):
        kind_of(TensorSpec(name="field", dtype="float32", shape=(3, 4, 6)))
