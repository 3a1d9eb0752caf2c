"""The threshold that a graph is exported with, chosen once on validation pictures."""

import numpy as np
from numpy.typing import NDArray

from inference.training.evaluation.overlap import Overlap

DICE_GIVEN_UP = 0.01
"""Less than the difference between two people who outline the same lesion by far."""
CANDIDATES = tuple(step / 20 for step in range(2, 17))


def choose_threshold(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """The highest threshold whose pooled Dice on validation pictures is within ``DICE_GIVEN_UP`` of the best.

    Every validation picture holds lesions, so their best threshold is too low for lungs that hold none.
    """
    scores = np.array([Overlap.of(probability > candidate, truth).dice for candidate in CANDIDATES])
    return float(np.array(CANDIDATES)[scores >= scores.max() - DICE_GIVEN_UP].max())
