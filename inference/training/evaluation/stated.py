"""The figures that a model's card states: how they are written, and whether they still hold.

``triton_models/<model>/figures.json`` holds what ``evaluate`` gave; the table in ``CARD.md`` beside it is made from
that file, so that the two can be held against each other letter by letter.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FIGURES_FILE = "figures.json"
DICE_TOLERANCE = 0.005
"""Between two measurements: another processor's arithmetic turns a few pixels at the threshold."""
ROUNDING_TOLERANCE = 1e-4
"""Of a mean against the rounded values that it was made from."""
DECIMALS = 5
_TABLE = re.compile(r"^\| *(?:patient|synthetic:) .*\n(?:\|.*\n)+", re.MULTILINE)
_COLUMNS = {"dice": "Dice", "iou": "IoU", "precision": "precision", "recall": "recall", "average_precision": "AP"}


def as_json(figures: Mapping[str, Any]) -> str:
    """Text of a file of figures, rounded to ``DECIMALS``."""
    rounded = json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), DECIMALS))
    return json.dumps(rounded, indent=2, ensure_ascii=False) + "\n"


def read_figures(file: Path) -> dict[str, Any]:
    """What ``as_json`` wrote. Raises ``ValueError`` where the file is something else."""
    try:
        figures = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not a file of figures") from error
    known = ({"digest", "patients", "mean_per_patient", "pooled"}, {"digest", "phantoms", "figures"})
    if not isinstance(figures, dict) or not any(keys <= set(figures) for keys in known):
        raise ValueError(f"{file} is not a file of figures")
    return figures


def table(figures: Mapping[str, Any]) -> list[str]:
    """Rows in Markdown: a patient each, then their mean with its interval, then all pixels pooled.

    Of figures on phantoms (``evaluation.embolism``): a figure each.
    """
    if "figures" in figures:
        return _figure_table(figures)
    columns = [name for name in _COLUMNS if name in figures["mean_per_patient"]]
    rows = [["patient", *(_COLUMNS[name] for name in columns), "pictures"]]
    for name, one in figures["patients"].items():
        rows.append([name, *(_figure(one[column]) for column in columns), str(one["pictures"])])
    rows.append([_of_patients(len(figures["patients"])), *_means(figures["mean_per_patient"], columns), ""])
    pooled = figures["pooled"] | {"average_precision": figures.get("average_precision")}
    rows.append(["all pixels pooled", *(_figure(pooled[column]) for column in columns), str(pooled["pictures"])])
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows
    ]  # fmt: skip
    return [lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]]


def _figure_table(stated: Mapping[str, Any]) -> list[str]:
    """Rows in Markdown of figures on phantoms, one each."""
    phantoms = stated["phantoms"]
    head = f"synthetic: {phantoms['slices']} slices of {phantoms['patients']} phantoms, {phantoms['studies']} studies"
    rows = [
        (head, ""),
        *((name, value if isinstance(value, str) else _figure(value)) for name, value in stated["figures"].items()),
    ]
    width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"| {name.ljust(width)} | {value.rjust(value_width)} |" for name, value in rows]
    return [lines[0], f"|{'-' * (width + 2)}|{'-' * (value_width + 1)}:|", *lines[1:]]


def with_table(card: str, figures: Mapping[str, Any]) -> str:
    """The card with its table of patients replaced. Raises ``ValueError`` where it has none."""
    if not _TABLE.search(card):
        raise ValueError("the card has no table that begins with | patient | or | synthetic |")
    made = "\n".join(table(figures)) + "\n"
    return _TABLE.sub(lambda _: made, card, count=1)


def contradictions(figures: Mapping[str, Any], *, card: str, digest: str) -> list[str]:
    """What in a file of figures does not fit the card, the weights or itself; empty where all does."""
    if figures["digest"] != digest:
        return [f"{FIGURES_FILE} was measured with other weights ({figures['digest'][:16]})"]
    lines = set(card.splitlines())
    wrong = [f"CARD.md lacks what {FIGURES_FILE} says: {row}" for row in table(figures) if row not in lines]
    if "figures" in figures:
        return wrong
    dices = [one["dice"] for one in figures["patients"].values()]
    stated = figures["mean_per_patient"]["dice"]
    if abs(float(np.mean(dices)) - stated) > ROUNDING_TOLERANCE:
        wrong.append(f"{FIGURES_FILE}: the mean Dice {stated:.3f} is not that of its patients, {np.mean(dices):.3f}")
    return wrong


def patients_at_hand(figures: Mapping[str, Any], cases: Sequence[str]) -> tuple[str, ...]:
    """Those of the figures' patients that are among ``cases``, in the figures' order."""
    return tuple(name for name in figures["patients"] if name in cases)


def deviations(stated: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Patients of ``found`` whose Dice is another than stated by more than ``DICE_TOLERANCE``."""
    return [
        f"{name}: Dice {stated['patients'][name]['dice']:.3f} stated, {one['dice']:.3f} found"
        for name, one in found["patients"].items()
        if abs(one["dice"] - stated["patients"][name]["dice"]) > DICE_TOLERANCE
    ]


def _of_patients(count: int) -> str:
    return f"mean of {count} patients (95 %, bootstrap)" if count > 1 else "mean of 1 patient"


def _means(mean: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """Each mean with its interval, where it has one."""
    cells = []
    for column in columns:
        interval = mean[f"{column}_95"]
        cells.append(_figure(mean[column]) + (f" ({'–'.join(map(_figure, interval))})" if interval else ""))
    return cells


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
