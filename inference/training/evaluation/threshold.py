"""The threshold that a graph is exported with, chosen once on validation pictures."""

import numpy as np
from numpy.typing import NDArray

from inference.training.evaluation.overlap import Overlap

DICE_GIVEN_UP = 0.004
"""For a higher threshold: less than the difference between two people who outline the same lesion by far."""
DICE_GIVEN_UP_FOR_LUNGS = 0.002
"""For a lower one: people differ less about lungs."""
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

    ``mildest``: the lowest threshold within ``DICE_GIVEN_UP_FOR_LUNGS`` instead. For lungs: what their mask lacks,
    lesions at its rim above all, is lost for everything that comes after.
    """
    groups = [np.flatnonzero(patient == one) for one in np.unique(patient)] if patient is not None else [slice(None)]
    scores = np.array(
        [
            np.mean([Overlap.of(probability[group] > candidate, truth[group]).dice for group in groups])
            for candidate in CANDIDATES
        ]
    )
    given_up = DICE_GIVEN_UP_FOR_LUNGS if mildest else DICE_GIVEN_UP
    good = np.array(CANDIDATES)[scores >= scores.max() - given_up]
    return float(good.min() if mildest else good.max())
