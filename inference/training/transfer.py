"""Paper S0 in one go: train on one source, test on the other, fine-tune on a small part of it, test on its rest.

Sources here: Coronacases (A) and Radiopaedia (B) of COVID-19-CT-Seg. Figures as the paper's: of every slice, averaged
over slices; beside them Dice of each patient's pixels, averaged over patients. The masks are those that the network
marks at one half, inside the lungs that the lung model found.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inference.training.cases.base import Case
from inference.training.cross_validation import lungs_at_256
from inference.training.evaluation import Overlap
from inference.training.prediction import probabilities
from inference.training.prepared_pictures import FindLungs, prepared, prepared_cases
from inference.training.recipes.base import Pace, Recipe, Schedule
from inference.training.splits import Transfer
from inference.training.trainer import Material, train

FINE_TUNING_RATE = 1e-3
FINE_TUNING_SHARE = 0.25
"""Of the first training's steps, as the paper's 50 epochs of 200."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFigures:
    """Of one network on one test set. All but ``patient_dice`` are means over slices."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    patient_dice: float
    slices: int


def transfer(
    recipe: Recipe,
    cases: Sequence[Case],
    split: Transfer,
    find_lungs: FindLungs,
    *,
    out: Path,
    progress: bool = True,
) -> dict[str, TransferFigures]:
    """Figures by row of the paper's table; also in ``out/transfer.json`` and, for reading, ``out/transfer.md``."""
    by_name = {case.name: case for case in cases}

    def material(names: Sequence[str]) -> Material:
        return Material(real=prepared_cases([by_name[name] for name in names], recipe, find_lungs))

    def tested(network: torch.nn.Module, names: Sequence[str]) -> TransferFigures:
        return _figures(network, recipe, [by_name[name] for name in names], find_lungs)

    first = train(recipe, material(split.first), out=out / "first", resume=True, progress=progress)
    pace = Pace(
        schedule=Schedule.ONE_CYCLE,
        learning_rate=FINE_TUNING_RATE,
        steps=max(1, round(recipe.pace.steps * FINE_TUNING_SHARE)),
        batch=recipe.pace.batch,
    )
    second = train(
        recipe.at(pace),
        material(split.small_part),
        out=out / "second",
        start=out / "first" / "best.pt",
        resume=True,
        progress=progress,
    )
    table = {
        "A → A": tested(first, split.first_test),
        "A → B, not fine-tuned": tested(first, split.second_test),
        "A → B, fine-tuned on a small part of B": tested(second, split.second_test),
        "A → A, after fine-tuning on B": tested(second, split.first_test),
    }
    text = json.dumps({row: asdict(figures) for row, figures in table.items()}, indent=2, ensure_ascii=False)
    (out / "transfer.json").write_text(text + "\n", encoding="utf-8")
    (out / "transfer.md").write_text(as_markdown(table), encoding="utf-8")
    return table


def as_markdown(table: dict[str, TransferFigures]) -> str:
    """The table for people."""
    lines = [
        "| | accuracy | precision | recall | F1 | Dice of patients | slices |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, one in table.items():
        figures = f"{one.accuracy:.4f} | {one.precision:.4f} | {one.recall:.4f} | {one.f1:.4f} | {one.patient_dice:.3f}"
        lines.append(f"| {row} | {figures} | {one.slices} |")
    return "\n".join(lines) + "\n"


def _figures(network: torch.nn.Module, recipe: Recipe, cases: Sequence[Case], find_lungs: FindLungs) -> TransferFigures:
    slices: list[tuple[float, float, float, float]] = []
    dices = []
    for case in cases:
        pictures = prepared(case, recipe, find_lungs)
        marked = (probabilities(network, recipe, pictures) > 0.5) & lungs_at_256(pictures)
        truth = case.palette[(case.palette >= 1).any(axis=(1, 2))] >= 2
        dices.append(Overlap.of(marked, truth).dice)
        slices += [_slice_figures(one, reference) for one, reference in zip(marked, truth, strict=True)]
    accuracy, precision, recall, f1 = np.mean(slices, axis=0)
    return TransferFigures(
        accuracy=float(accuracy),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        patient_dice=float(np.mean(dices)),
        slices=len(slices),
    )


def _slice_figures(marked: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    overlap = Overlap.of(marked[None], truth[None])
    return float((marked == truth).mean()), overlap.precision, overlap.recall, overlap.dice
