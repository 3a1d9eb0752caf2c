"""The course of a training as a picture: loss and validation Dice over steps."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure


def save_training_curve(path: Path, title: str, rows: Sequence[tuple[float, ...]]) -> None:
    """``rows``: step, seconds, learning rate, loss, validation Dice (not a number where nothing was validated)."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.add_subplot()
    steps = [row[0] for row in rows]
    left.plot(steps, [row[3] for row in rows], color="tab:red", label="loss")
    left.set(xlabel="step", ylabel="loss", title=title)
    right = left.twinx()
    right.plot(steps, [row[4] for row in rows], color="tab:blue", label="validation Dice")
    right.set(ylabel="validation Dice", ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=110)
