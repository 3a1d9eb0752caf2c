"""How well a served model does on labelled pictures: through the engine that serves it, not through torch.

Figures per patient and pooled over all pictures. Dice equals F1 of pixels; two empty masks count as 1.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.engines.base import Engine
from inference.model import Model
from inference.models.slice_preparation import INPUT, OUTPUT
from inference.training.pictures import Pictures, cases_of, read_case

DICE_GIVEN_UP = 0.01
"""Less than the difference between two people who outline the same lesion by far."""
BOOTSTRAPS = 2000
"""Resamplings of patients for the interval of the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Agreement of a mask with its truth, from counted pixels."""

    dice: float
    iou: float
    precision: float
    recall: float
    pictures: int

    @classmethod
    def of(cls, marked: NDArray[np.bool_], truth: NDArray[np.bool_]) -> "Overlap":
        """Over all pictures together."""
        hit = int((marked & truth).sum())
        found, there = int(marked.sum()), int(truth.sum())
        empty = found + there == 0
        return cls(
            dice=1.0 if empty else 2 * hit / (found + there),
            iou=1.0 if empty else hit / (found + there - hit),
            precision=hit / found if found else float(there == 0),
            recall=hit / there if there else 1.0,
            pictures=len(truth),
        )


def mark(model: Model, engine: Engine, pictures: Pictures) -> NDArray[np.bool_]:
    """What the model marks on prepared pictures (n, 256, 256)."""
    outputs = engine.run(model.spec, {INPUT.name: pictures.grey[:, None].astype(np.float16)})
    return outputs[OUTPUT.name] > 0


def evaluate(model: Model, engine: Engine, folder: Path, cases: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Figures on a folder of PNG pairs (``inference.training.pictures``), ready for JSON."""
    by_case: dict[str, Overlap] = {}
    marked, truths = [], []
    for case in cases or cases_of(folder):
        pictures = read_case(folder / case)
        marked.append(mark(model, engine, pictures))
        truths.append(pictures.target(model.spec.name))
        by_case[case] = Overlap.of(marked[-1], truths[-1])
    dices = np.array([one.dice for one in by_case.values()])
    identity = engine.identity(model.spec)
    return {
        "model": identity.name,
        "version": identity.version,
        "digest": identity.digest,
        "patients": {case: asdict(one) for case, one in by_case.items()},
        "mean_per_patient": {"dice": float(dices.mean()), "dice_95": _interval(dices)},
        "pooled": asdict(Overlap.of(np.concatenate(marked), np.concatenate(truths))),
    }


def choose_threshold(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """The highest threshold whose pooled Dice on validation pictures is within ``DICE_GIVEN_UP`` of the best.

    Every validation picture holds lesions, so their best threshold is too low for lungs that hold none.
    """
    candidates = np.arange(2, 17) / 20
    scores = np.array([Overlap.of(probability > candidate, truth).dice for candidate in candidates])
    return float(candidates[scores >= scores.max() - DICE_GIVEN_UP].max())


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Bootstrap over patients, 95 %, seeded. With few patients it is wide, and should be."""
    random = np.random.default_rng(0)
    means = values[random.integers(0, len(values), (BOOTSTRAPS, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
