"""Precision and recall over all thresholds, from a histogram of probabilities.

A histogram stays small whatever the number of pixels, and those of several patients add up. Its bins are equally wide
in log odds: networks crowd their probabilities at both ends, where equally wide bins of probability see nothing.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BINS = 1024
LARGEST_LOG_ODDS = 12.0
"""Probabilities nearer to 0 or 1 than 6e-6 fall into the outermost bins."""
EDGES = 1 / (1 + np.exp(-np.linspace(-LARGEST_LOG_ODDS, LARGEST_LOG_ODDS, BINS + 1)[:-1]))
"""Lowest probability of every bin, rising. One edge is exactly 0.5."""
SHOWN_THRESHOLDS = (0.01, *(step / 20 for step in range(1, 20)), 0.99)
"""Of the curve in a file of figures."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """One entry a threshold, from the strictest to the mildest: marked is what reaches the threshold."""

    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    """1 where nothing is marked."""
    recall: NDArray[np.float64]
    dice: NDArray[np.float64]

    @property
    def average_precision(self) -> float:
        """Step-wise, nothing between two thresholds assumed: the sum of (R_n - R_(n-1)) P_n."""
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))

    def figures(self) -> dict[str, list[float]]:
        """At ``SHOWN_THRESHOLDS`` (the nearest bins to them), ready for JSON."""
        shown = [int(np.abs(self.thresholds - threshold).argmin()) for threshold in SHOWN_THRESHOLDS]
        columns = {"precision": self.precision, "recall": self.recall, "dice": self.dice}
        return {"threshold": list(SHOWN_THRESHOLDS)} | {
            name: [round(float(one), 4) for one in values[shown]] for name, values in columns.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProbabilityHistogram:
    """Pixels by probability: those of the truth and the others. Both int64 (``BINS``,)."""

    true: NDArray[np.int64]
    other: NDArray[np.int64]

    @classmethod
    def of(cls, probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> "ProbabilityHistogram":
        """Two arrays of one shape."""
        bins = np.searchsorted(EDGES, probability.ravel(), side="right") - 1
        bins = np.maximum(bins, 0) * 2 + truth.ravel()
        counted = np.bincount(bins, minlength=2 * BINS).reshape(BINS, 2)
        return cls(true=counted[:, 1], other=counted[:, 0])

    @classmethod
    def empty(cls) -> "ProbabilityHistogram":
        """Of no pixel."""
        return cls(true=np.zeros(BINS, np.int64), other=np.zeros(BINS, np.int64))

    def __add__(self, more: "ProbabilityHistogram") -> "ProbabilityHistogram":
        return ProbabilityHistogram(true=self.true + more.true, other=self.other + more.other)

    def curve(self) -> Curve | None:
        """``None`` where the truth is empty: there is no recall then."""
        there = int(self.true.sum())
        if there == 0:
            return None
        hit, false = np.cumsum(self.true[::-1]), np.cumsum(self.other[::-1])
        marked = hit + false
        return Curve(
            thresholds=EDGES[::-1],
            precision=np.where(marked > 0, hit / np.maximum(marked, 1), 1.0),
            recall=hit / there,
            dice=2 * hit / (marked + there),
        )


def draw_curve(curve: Curve, *, title: str, target: Path) -> None:
    """A PNG: precision over recall on the left, Dice over thresholds on the right. Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    figure.suptitle(title)
    left.plot(curve.recall, curve.precision, drawstyle="steps-pre")
    left.set(xlabel="recall", ylabel="precision", title=f"average precision {curve.average_precision:.3f}")
    best = int(curve.dice.argmax())
    right.plot(curve.thresholds, curve.dice)
    right.set(xlabel="threshold", ylabel="Dice", title=f"best {curve.dice[best]:.3f} at {curve.thresholds[best]:.2f}")
    for axes in (left, right):
        axes.set(xlim=(0, 1), ylim=(0, 1.01))
        axes.grid(alpha=0.3)
    figure.savefig(target, format="png", dpi=120)
