"""Tables of what cross-validation kept: recipes, and ensembles of them (means of log odds, as they are served).

One row a recipe or ensemble: Dice of each held-back patient's pixels at one half, its mean over patients; then of all
pixels together Dice, IoU, average precision, and the threshold with the best Dice.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.training.cases.base import LESION, LUNG, Case
from inference.training.cross_validation import LEVELS
from inference.training.evaluation import Overlap
from inference.training.evaluation.precision_recall import ProbabilityHistogram
from inference.training.prediction import sigmoid

THRESHOLD = 0.5
_HALVES = (np.arange(LEVELS + 1, dtype=np.float32) + 0.5) / (LEVELS + 1)
LOG_ODDS = np.log(_HALVES / (1 - _HALVES))
"""Of each stored level; the outermost stand for a 500th."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One recipe, or several joined by " + "."""

    name: str
    patients: dict[str, float]
    """Dice at one half."""
    pooled_dice: float
    pooled_iou: float
    average_precision: float
    best_threshold: float
    best_dice: float
    """Pooled, at that threshold."""

    @property
    def mean(self) -> float:
        """Of the patients' Dice."""
        return float(np.mean(list(self.patients.values())))


def compare(out: Path, cases: Sequence[Case], recipes: Sequence[str]) -> list[Scored]:
    """Every recipe, every pair, and all together; best mean first. Also written to ``out/comparison.json``."""
    sizes = sorted({1, 2, len(recipes)} & set(range(1, len(recipes) + 1)))
    groups = [group for size in sizes for group in combinations(recipes, size)]
    kept = {recipe: _read(out / f"{recipe}.npz") for recipe in recipes}
    table = sorted((_scored(group, kept, cases) for group in groups), key=lambda one: -one.mean)
    text = json.dumps([asdict(one) for one in table], indent=2)
    (out / "comparison.json").write_text(text + "\n", encoding="utf-8")
    return table


def as_markdown(table: Sequence[Scored]) -> str:
    """Two tables for people: the summary; the patients, by the best row and by each single recipe."""
    lines = [
        "| recipe | mean of patients | pooled Dice | pooled IoU | average precision | best threshold (Dice) |",
        "|---|---|---|---|---|---|",
    ]
    for one in table:
        figures = f"{one.mean:.3f} | {one.pooled_dice:.3f} | {one.pooled_iou:.3f} | {one.average_precision:.3f}"
        lines.append(f"| {one.name} | {figures} | {one.best_threshold:.2f} ({one.best_dice:.3f}) |")
    shown = [one for one in table if one is table[0] or " + " not in one.name]
    lines += ["", "| patient | " + " | ".join(one.name for one in shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for patient in table[0].patients:
        lines.append(f"| {patient} | " + " | ".join(f"{one.patients[patient]:.3f}" for one in shown) + " |")
    return "\n".join(lines) + "\n"


def _read(path: Path) -> dict[str, NDArray[np.uint8]]:
    with np.load(path) as kept:
        return {name: kept[name] for name in kept.files}


def _scored(group: Sequence[str], kept: dict[str, dict[str, NDArray[np.uint8]]], cases: Sequence[Case]) -> Scored:
    patients: dict[str, float] = {}
    everything, histogram = Overlap.of(np.zeros(0, np.bool_), np.zeros(0, np.bool_)), ProbabilityHistogram.empty()
    for case in cases:
        truth = case.palette[(case.palette >= LUNG).any(axis=(1, 2))] >= LESION
        total = np.zeros(truth.shape, np.float32)
        for recipe in group:
            total += LOG_ODDS[kept[recipe][case.name]]
        probability = sigmoid(total / np.float32(len(group)))
        overlap = Overlap.of(probability > THRESHOLD, truth)
        patients[case.name] = overlap.dice
        everything += overlap
        histogram += ProbabilityHistogram.of(probability, truth)
    curve = histogram.curve()
    if curve is None:
        raise ValueError("no held-back patient has a lesion: there is nothing to compare by")
    best = int(curve.dice.argmax())
    return Scored(
        name=" + ".join(group),
        patients=patients,
        pooled_dice=everything.dice,
        pooled_iou=everything.iou,
        average_precision=curve.average_precision,
        best_threshold=float(curve.thresholds[best]),
        best_dice=float(curve.dice[best]),
    )
