"""Runs the training of an embolism model: steps, running average of weights, validation, everything kept.

``out`` gets ``last.pt`` (everything needed to go on), ``best.pt`` (the weights), ``curve.csv`` and ``curve.png``.
Batches depend on the step alone, so that a run that was killed ends with the same weights as one that was not.
"""

import csv
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from inference.training.curve_picture import save_training_curve

AVERAGE_DECAY = 0.995
LARGEST_GRADIENT = 5.0
COLUMNS = ("step", "seconds", "learning_rate", "loss", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbolismPace:
    """Steps and learning rate (one cycle, up and down)."""

    steps: int
    learning_rate: float
    weight_decay: float
    validate_every: int


class Task(Protocol):
    """What is learnt."""

    @property
    def name(self) -> str:
        """Of the recipe."""
        ...

    @property
    def figure(self) -> str:
        """What ``validate`` gives, for the curve."""
        ...

    def network(self) -> nn.Module:
        """A new network with its first weights."""
        ...

    def loss(self, network: nn.Module, step: int) -> Tensor:
        """Of that step's batch."""
        ...

    def validate(self, network: nn.Module) -> float:
        """The higher the better."""
        ...


def train_embolism_model(
    task: Task,
    pace: EmbolismPace,
    *,
    seed: int,
    out: Path,
    start: Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> nn.Module:
    """Train and return the network with the best weights, in evaluation mode.

    ``start``: weights to begin with instead of the task's. Raises ``ValueError`` where ``out`` holds another training.
    """
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(task, pace, seed, start)
    if resume and (out / "last.pt").exists():
        run.restore(out / "last.pt")
    bar = tqdm(total=pace.steps, initial=run.step, desc=task.name, unit="step", disable=not progress)
    while run.step < pace.steps:
        run.learn()
        bar.update()
        if run.step % pace.validate_every == 0 or run.step == pace.steps:
            run.look_back()
            run.save(out)
            bar.set_postfix(loss=f"{run.loss:.3f}", best=f"{run.best:.3f}")
    bar.close()
    network = task.network()
    network.load_state_dict(torch.load(out / "best.pt", map_location="cpu", weights_only=True))
    return network.eval()


class _Run:
    """The state of a training."""

    def __init__(self, task: Task, pace: EmbolismPace, seed: int, start: Path | None) -> None:
        torch.manual_seed(seed)
        self._task, self._pace, self._seed = task, pace, seed
        self.step, self.loss, self.best = 0, 0.0, -1.0
        self._rows: list[tuple[float, ...]] = []
        self._before_s, self._started = 0.0, time.monotonic()
        self._network = task.network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if start is not None:
            self._network.load_state_dict(torch.load(start, map_location="cpu", weights_only=True))
        self._average = AveragedModel(
            self._network,
            avg_fn=_moved_average,
            use_buffers=True,
        )
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(), lr=pace.learning_rate, weight_decay=pace.weight_decay
        )
        self._cycle = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, max_lr=pace.learning_rate, total_steps=pace.steps, pct_start=0.1
        )
        self._best_weights = _copied(self._network)

    def learn(self) -> None:
        """One step."""
        self._network.train()
        torch.manual_seed(self._seed * 1_000_003 + self.step)  # for dropout
        loss = self._task.loss(self._network, self.step)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), LARGEST_GRADIENT)
        self._optimiser.step()
        self._cycle.step()
        self._average.update_parameters(self._network)
        self.loss = loss.item() if self.step == 0 else 0.95 * self.loss + 0.05 * loss.item()
        self.step += 1

    def look_back(self) -> None:
        """Validate and keep the best weights."""
        averaged = self._average.module
        figure = self._task.validate(averaged.eval())
        seconds = self._before_s + time.monotonic() - self._started
        rate = float(self._optimiser.param_groups[0]["lr"])
        self._rows.append((self.step, round(seconds, 1), rate, round(self.loss, 5), round(figure, 5)))
        if figure > self.best:
            self.best, self._best_weights = figure, _copied(averaged)

    def save(self, out: Path) -> None:
        """Everything; a kill at any moment leaves the state of the last validation whole."""
        _save_whole(self._best_weights, out / "best.pt")
        with (out / "curve.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            table.writerows(self._rows)
        save_training_curve(out / "curve.png", self._task.name, self._rows, figure=self._task.figure)
        state: dict[str, Any] = {
            "training": self._described(),
            "network": self._network.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "cycle": self._cycle.state_dict(),
            "best_weights": self._best_weights,
            "numbers": {"step": self.step, "loss": self.loss, "best": self.best},
            "rows": self._rows,
            "seconds": self._rows[-1][1],
        }
        _save_whole(state, out / "last.pt")

    def restore(self, path: Path) -> None:
        """Go on where ``save`` left off."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["training"] != self._described():
            raise ValueError(f"{path} is of another recipe or pace: give another folder, or delete it to start anew")
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._cycle.load_state_dict(state["cycle"])
        self._best_weights, self._rows, self._before_s = state["best_weights"], state["rows"], state["seconds"]
        for name, value in state["numbers"].items():
            setattr(self, name, value)

    def _described(self) -> str:
        return f"{self._task.name} {self._pace!r} seed {self._seed}"


def _moved_average(average: Tensor, now: Tensor, count: Tensor | int) -> Tensor:
    """The running average; shorter in the beginning, so that the first weights do not linger."""
    decay = min(AVERAGE_DECAY, (1 + float(count)) / (10 + float(count)))
    return decay * average + (1 - decay) * now if average.is_floating_point() else now


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def _save_whole(content: object, path: Path) -> None:
    """Never half a file under the final name."""
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    os.replace(partial, path)  # noqa: PTH105  # atomic, and it says so
