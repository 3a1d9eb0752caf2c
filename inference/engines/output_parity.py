"""The gate of ``parity.py`` for every kind of output: labels, probabilities and boxes, each with its own limits.

An output's kind is read off its specification, so that a new model of a known kind needs nothing here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.engines.parity import LARGEST_DISAGREEMENT, SMALLEST_DICE, MaskParity
from inference.model import ModelSpec, Tensors, TensorSpec

LARGEST_PROBABILITY_CHANGE = 0.01
LARGEST_SCORE_CHANGE = 0.02
SMALLEST_BOX_IOU = 0.95
SCORE_THAT_COUNTS = 0.1
"""Boxes below are noise that no pipeline looks at; the limit of a score's change lies around it."""
BOX = 5
"""Left, top, right, bottom, score."""
SMALLEST_DICE_OF_INTEGERS = 0.99
"""Of graphs that compute in 8-bit integers."""

Floats = NDArray[np.floating[Any]]


class OutputKind(Enum):
    """What an output tensor holds, and so what "the same" means."""

    LABELS = "labels"
    """uint8 on a grid: Dice of what is not background."""
    PROBABILITIES = "probabilities"
    """Floats (n, classes): no class changes by more than the limit, and none becomes another's."""
    BOXES = "boxes"
    """Floats (n, boxes, 5): every box that counts has its like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskLimits:
    """What masks are held to. Those of patients to both; those of phantoms to Dice alone, because a phantom holds
    several times as much rim of lesions as a patient, and labels differ on rims."""

    dice: float = SMALLEST_DICE
    disagreement: float | None = None


PHANTOM_MASKS = MaskLimits()
PATIENT_MASKS = MaskLimits(disagreement=LARGEST_DISAGREEMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputParity:
    """How far one output agrees. ``holds``: the second may serve in place of the first."""

    said: str
    holds: bool


def kind_of(tensor: TensorSpec) -> OutputKind:
    """What a tensor of that type and shape holds. Raises ``ValueError`` for a form that has no limits."""
    if tensor.dtype == "uint8":
        return OutputKind.LABELS
    if tensor.dtype.startswith("float") and len(tensor.shape) == 1:  # a row for each picture
        return OutputKind.PROBABILITIES
    if len(tensor.shape) == 2 and tensor.shape[1] == BOX:
        return OutputKind.BOXES
    raise ValueError(f"output {tensor.name} {tensor.dtype} {tensor.shape} is of no kind that engines are compared by")


def outputs_agree(
    spec: ModelSpec, expected: Tensors, found: Tensors, *, masks: MaskLimits = PHANTOM_MASKS
) -> OutputParity:
    """All outputs of a model together. Raises ``ValueError`` for an output without limits."""
    compare: dict[OutputKind, Callable[[Any, Any], OutputParity]] = {
        OutputKind.LABELS: partial(labels, limits=masks),
        OutputKind.PROBABILITIES: probabilities,
        OutputKind.BOXES: boxes,
    }
    compared = [compare[kind_of(one)](expected[one.name], found[one.name]) for one in spec.outputs]
    return OutputParity(said="; ".join(one.said for one in compared), holds=all(one.holds for one in compared))


def labels(
    expected: NDArray[np.uint8], found: NDArray[np.uint8], *, limits: MaskLimits = PHANTOM_MASKS
) -> OutputParity:
    """Labels of any equal shape."""
    parity = MaskParity.of(expected, found)
    differs = limits.disagreement is not None and parity.disagreement > limits.disagreement
    limit = "" if limits.disagreement is None else f" (limit {limits.disagreement:.0e})"
    return OutputParity(
        said=f"Dice {parity.dice:.4f} (limit {limits.dice}), {parity.disagreement:.1e}{limit} of the labels differ",
        holds=parity.dice >= limits.dice and not differs,
    )


def probabilities(expected: Floats, found: Floats) -> OutputParity:
    """Rows of probabilities (n, classes)."""
    change = float(np.abs(expected - found).max(initial=0.0))
    flips = int(np.count_nonzero(expected.argmax(axis=1) != found.argmax(axis=1)))
    return OutputParity(
        said=f"probabilities differ by {change:.4f} at most (limit {LARGEST_PROBABILITY_CHANGE}), {flips} of "
        f"{len(expected)} change sides (limit 0)",
        holds=change <= LARGEST_PROBABILITY_CHANGE and flips == 0,
    )


def boxes(expected: Floats, found: Floats) -> OutputParity:
    """Boxes (n, boxes, 5), in any order within their picture; those that count on either side need their like."""
    ious, changes = [1.0], [0.0]
    for first, second in zip(expected, found, strict=True):
        for these, those in ((first, second), (second, first)):
            for box in these[these[:, 4] >= SCORE_THAT_COUNTS + LARGEST_SCORE_CHANGE]:
                overlap = _iou(box, those)
                like = int(overlap.argmax())
                ious.append(float(overlap[like]))
                changes.append(abs(float(box[4] - those[like, 4])))
    compared = len(ious) - 1
    return OutputParity(
        said=f"{compared} boxes overlap their like by {min(ious):.3f} at least (limit {SMALLEST_BOX_IOU}), scores "
        f"differ by {max(changes):.4f} (limit {LARGEST_SCORE_CHANGE})",
        holds=min(ious) >= SMALLEST_BOX_IOU and max(changes) <= LARGEST_SCORE_CHANGE,
    )


def _iou(box: Floats, others: Floats) -> NDArray[np.float64]:
    """Of one box with each of others (m, 5)."""
    first, rest = box.astype(np.float64), others.astype(np.float64)
    sides = np.minimum(first[2:4], rest[:, 2:4]) - np.maximum(first[:2], rest[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    area, areas = (first[2:4] - first[:2]).prod(), (rest[:, 2:4] - rest[:, :2]).prod(axis=1)
    return np.asarray(shared / np.maximum(area + areas - shared, 1e-9), np.float64)
