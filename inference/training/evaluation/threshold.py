"""The threshold that a graph is exported with, chosen once on validation pictures."""

import numpy as np
from numpy.typing import NDArray

from inference.training.evaluation.overlap import Overlap

DICE_GIVEN_UP = 0.003
"""Far less than the difference between two people who outline the same lesion."""
CANDIDATES = tuple(step / 20 for step in range(2, 17))


def choose_threshold(
    probability: NDArray[np.float32],
    truth: NDArray[np.bool_],
    patient: NDArray[np.int64] | None = None,
    *,
    mildest: bool = False,
) -> float:
    """The highest threshold whose Dice on validation pictures is within ``DICE_GIVEN_UP`` of the best.

    All arrays by picture; ``patient`` tells whose each is, and the mean of the patients' Dice counts. Every validation
    picture holds lesions, so their best threshold is rather too low for lungs that hold none.

    ``mildest``: the lowest threshold instead. For lungs: what their mask lacks, lesions at its rim above all, is lost
    for everything that comes after.
    """
    groups = [np.flatnonzero(patient == one) for one in np.unique(patient)] if patient is not None else [slice(None)]
    scores = np.array(
        [
            np.mean([Overlap.of(probability[group] > candidate, truth[group]).dice for group in groups])
            for candidate in CANDIDATES
        ]
    )
    good = np.array(CANDIDATES)[scores >= scores.max() - DICE_GIVEN_UP]
    return float(good.min() if mildest else good.max())
