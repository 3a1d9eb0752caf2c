"""Figures of counted pixels, against hand-made ones."""

import numpy as np
import pytest

from inference.training.evaluation import Overlap, choose_threshold
from inference.training.evaluation.bootstrap import interval_95

SHAPE = (1, 4, 5)


def mask(*, first: int, last: int) -> np.ndarray:
    """Of 20 pixels, those from ``first`` up to ``last``."""
    pixels = np.zeros(20, bool)
    pixels[first:last] = True
    return pixels.reshape(SHAPE)


def test_every_figure_of_a_known_overlap() -> None:
    overlap = Overlap.of(mask(first=0, last=8), mask(first=2, last=12))  # 6 hit, 2 false, 4 missed, 8 neither
    assert overlap.figures() == pytest.approx(
        {
            "dice": 12 / 18,
            "iou": 6 / 12,
            "miou": (6 / 12 + 8 / 14) / 2,
            "precision": 6 / 8,
            "recall": 6 / 10,
            "accuracy": 14 / 20,
            "smoothed_jaccard": (14 * 1 + 6 * 100 / 102) / 20,
            "pictures": 1,
        }
    )


def test_smoothed_jaccard_is_the_mean_over_pixels_of_two_channels() -> None:
    random = np.random.default_rng(0)
    marked, truth = random.random((2, *SHAPE)) < 0.4
    channels, true_channels = np.stack([marked, ~marked]).astype(float), np.stack([truth, ~truth]).astype(float)
    hit, both = (channels * true_channels).sum(axis=0), (channels + true_channels).sum(axis=0)
    published = ((hit + 100) / (both - hit + 100)).mean()
    assert Overlap.of(marked, truth).smoothed_jaccard == pytest.approx(published)
    assert Overlap.of(truth, ~truth).smoothed_jaccard == pytest.approx(100 / 102)  # everything wrong
    assert Overlap.of(truth, ~truth).iou == 0.0


def test_two_empty_masks_agree() -> None:
    empty, full = mask(first=0, last=0), mask(first=0, last=20)
    figures = Overlap.of(empty, empty).figures()
    assert {name: value for name, value in figures.items() if value != 1} == {}
    false = Overlap.of(full, empty)
    assert (false.dice, false.iou, false.precision, false.recall, false.miou) == (0.0, 0.0, 0.0, 1.0, 0.0)
    assert Overlap.of(empty, full).precision == 0.0


def test_counts_of_patients_add_up() -> None:
    first, second = (mask(first=0, last=8), mask(first=2, last=12)), (mask(first=0, last=3), mask(first=0, last=0))
    together = Overlap.of(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))
    assert Overlap.of(*first) + Overlap.of(*second) == together


def test_interval_holds_the_mean_and_repeats() -> None:
    dices = np.array([0.5, 0.6, 0.7, 0.9])
    interval = interval_95(dices)
    assert interval is not None
    assert 0.5 < interval[0] < dices.mean() < interval[1] < 0.9
    assert interval_95(dices) == interval
    assert interval_95(np.full(4, 0.7)) == pytest.approx((0.7, 0.7))
    assert interval_95(dices[:1]) is None  # one patient says nothing about others


def test_threshold_follows_the_validation_pictures() -> None:
    truth = np.zeros((1, 8, 8), bool)
    truth[0, :4] = True
    probability = np.where(truth, 0.42, 0.33).astype(np.float32)
    assert 0.33 < choose_threshold(probability, truth) < 0.42
    truth[0, 4] = True  # one row in five is seen too weakly at any threshold
    assert 0.33 < choose_threshold(probability, truth) < 0.42


def test_threshold_weighs_patients_not_pictures() -> None:
    """One patient of six pictures is seen well up to 0.8; another of one picture only up to 0.3."""
    truth = np.zeros((7, 8, 8), bool)
    truth[:, :4] = True
    probability = np.where(truth, 0.82, 0.0).astype(np.float32)
    probability[6] = np.where(truth[6], 0.32, 0.0)
    probability[:6, 7] = 0.42  # a little too much of the large one below 0.4
    patient = np.array([0] * 6 + [1])
    assert choose_threshold(probability, truth) > 0.42
    assert choose_threshold(probability, truth, patient) < 0.32


def test_the_mildest_of_good_thresholds_is_for_lungs() -> None:
    truth = np.zeros((1, 8, 8), bool)
    truth[0, :4] = True
    probability = np.where(truth, 0.72, 0.13).astype(np.float32)
    assert choose_threshold(probability, truth) == pytest.approx(0.7)
    assert choose_threshold(probability, truth, mildest=True) == pytest.approx(0.15)
