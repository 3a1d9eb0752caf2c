"""Intervals of a mean over patients: the percentile bootstrap (Efron 1979), seeded."""

import numpy as np
from numpy.typing import NDArray

BOOTSTRAPS = 2000
"""Resamplings of patients for one interval."""
LOW_PERCENT, HIGH_PERCENT = 2.5, 97.5


def interval_95(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """95 % interval of the mean of one value a patient. With few patients it is wide, and should be; one has none."""
    if len(values) == 1:
        return None
    random = np.random.default_rng(0)
    means = values[random.integers(0, len(values), (BOOTSTRAPS, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [LOW_PERCENT, HIGH_PERCENT])
    return float(low), float(high)
