"""Precision, recall and average precision over thresholds, against figures computed by hand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.training.evaluation.precision_recall import (
    BINS,
    EDGES,
    SHOWN_THRESHOLDS,
    Curve,
    ProbabilityHistogram,
    draw_curve,
)

PROBABILITY = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], np.float32)
TRUTH = np.array([True, False, True, True, False, False])
BY_HAND = (1 / 1 + 2 / 3 + 3 / 4) / 3
"""Each true pixel raises recall by a third, at the precision that is reached with it."""


def curve_of(probability: np.ndarray, truth: np.ndarray) -> Curve:
    curve = ProbabilityHistogram.of(probability, truth).curve()
    assert curve is not None
    return curve


def test_average_precision_by_hand() -> None:
    assert curve_of(PROBABILITY, TRUTH).average_precision == pytest.approx(BY_HAND)
    assert curve_of(PROBABILITY, ~TRUTH).average_precision == pytest.approx((1 / 2 + 2 / 5 + 3 / 6) / 3)
    assert curve_of(PROBABILITY, PROBABILITY > 0.55).average_precision == pytest.approx(1.0)
    tied = np.full(6, 0.3, np.float32)  # knows nothing: the share of true pixels
    assert curve_of(tied, TRUTH).average_precision == pytest.approx(0.5)


def test_average_precision_is_that_of_sorted_pixels() -> None:
    random = np.random.default_rng(3)
    truth = random.random(4000) < 0.1
    log_odds = random.normal(-3, 2.5, 4000) + 4 * truth
    probability = (1 / (1 + np.exp(-log_odds))).astype(np.float32)
    hit = np.cumsum(truth[np.argsort(-probability)])
    exact = np.mean((hit / np.arange(1, 4001))[truth[np.argsort(-probability)]])
    assert curve_of(probability, truth).average_precision == pytest.approx(exact, abs=0.01)


def test_precision_recall_and_dice_at_thresholds() -> None:
    curve = curve_of(PROBABILITY, TRUTH)
    shown = curve.figures()
    assert shown["threshold"] == list(SHOWN_THRESHOLDS)
    at = {threshold: number for number, threshold in enumerate(SHOWN_THRESHOLDS)}
    columns = ("precision", "recall", "dice")
    assert [shown[name][at[0.65]] for name in columns] == pytest.approx([2 / 3, 2 / 3, 2 / 3], abs=1e-4)
    assert [shown[name][at[0.05]] for name in columns] == pytest.approx([1 / 2, 1, 2 / 3], abs=1e-4)
    assert [shown[name][at[0.95]] for name in columns] == [1.0, 0.0, 0.0]  # nothing marked
    assert EDGES[BINS // 2] == 0.5  # what reaches one half is marked at one half
    assert curve.recall[curve.thresholds == 0.5] == 1.0
    assert np.all(np.diff(curve.thresholds) < 0)
    assert np.all(np.diff(curve.recall) >= 0)


def test_ends_of_the_range_are_counted() -> None:
    histogram = ProbabilityHistogram.of(np.array([0.0, 1.0, 1e-30], np.float32), np.array([False, True, False]))
    assert (histogram.true[-1], histogram.other[0], histogram.true.sum(), histogram.other.sum()) == (1, 2, 1, 2)


def test_histograms_of_patients_add_up() -> None:
    parts = [ProbabilityHistogram.of(PROBABILITY[part], TRUTH[part]) for part in (slice(0, 2), slice(2, 6))]
    together = sum(parts, ProbabilityHistogram.empty()).curve()
    assert together is not None
    assert together.average_precision == pytest.approx(BY_HAND)


def test_without_truth_there_is_no_curve() -> None:
    assert ProbabilityHistogram.of(PROBABILITY, np.zeros(6, bool)).curve() is None


def test_curve_is_drawn(tmp_path: Path) -> None:
    draw_curve(curve_of(PROBABILITY, TRUTH), title="six pixels", target=tmp_path / "curve.png")
    picture = np.asarray(Image.open(tmp_path / "curve.png").convert("L"))
    assert picture.min() < 50 < 200 < picture.max()


def test_measuring_needs_neither_torch_nor_matplotlib() -> None:
    loaded = "import sys, inference.training.evaluation as _; print({'torch', 'matplotlib'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "set()"
