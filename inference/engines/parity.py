"""The gate that every engine and every arithmetic passes before it serves a model: the same masks as float32.

A few pixels at the threshold turn with any change of arithmetic; more than that is another model.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST_DISAGREEMENT = 1e-4
"""Share of all pixels whose label differs."""
SMALLEST_DICE = 0.995
"""Between the two masks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskParity:
    """How far two label arrays of the same pixels agree."""

    disagreement: float
    dice: float

    @classmethod
    def of(cls, expected: NDArray[np.uint8], found: NDArray[np.uint8]) -> "MaskParity":
        """Labels of any equal shape; everything but 0 is foreground. Two empty masks agree."""
        first, second = expected > 0, found > 0
        total = int(first.sum()) + int(second.sum())
        return cls(
            disagreement=float(np.mean(expected != found)),
            dice=2 * int((first & second).sum()) / total if total else 1.0,
        )

    @property
    def holds(self) -> bool:
        """Whether the second may serve in place of the first."""
        return self.disagreement <= LARGEST_DISAGREEMENT and self.dice >= SMALLEST_DICE
