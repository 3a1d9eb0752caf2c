"""The course of a training as a picture: loss and the validation figure over steps."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure


def save_training_curve(
    path: Path, title: str, rows: Sequence[tuple[float, ...]], *, figure: str = "validation Dice"
) -> None:
    """``rows``: step, seconds, learning rate, loss, the validation ``figure`` (not a number where there is none)."""
    picture = Figure(figsize=(7, 4), layout="constrained")
    left = picture.add_subplot()
    steps = [row[0] for row in rows]
    left.plot(steps, [row[3] for row in rows], color="tab:red", label="loss")
    left.set(xlabel="step", ylabel="loss", title=title)
    right = left.twinx()
    right.plot(steps, [row[4] for row in rows], color="tab:blue", label=figure)
    right.set(ylabel=figure, ylim=(0, 1))
    picture.legend(loc="outside lower center", ncols=2)
    picture.savefig(path, dpi=110)
