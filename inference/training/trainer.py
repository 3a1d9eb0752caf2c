"""Runs a recipe: batches, loss, validation, best weights. Seeded; goes on where it was killed.

``out`` gets ``last.pt`` (everything needed to go on), ``best.pt`` (the weights), ``curve.csv`` and ``curve.png``.
Mixed precision: bfloat16, on the GPU where there is one. On a processor without bfloat16 arithmetic it is slower.
"""

import csv
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from inference.networks.unet import UNet2d
from inference.training.batches import Batches, network_inputs
from inference.training.curve_picture import save_training_curve
from inference.training.losses import segmentation_loss
from inference.training.prepared_pictures import Pictures
from inference.training.recipes.base import Pace, Recipe, Schedule

VALIDATION_PICTURES = 96
"""Evenly spread over the validation patients; the whole of them is for ``evaluate``."""
AVERAGE_DECAY = 0.98
"""Of the running average of weights: it looks back some fifty steps."""
LARGEST_GRADIENT = 1.0
"""Norm at which gradients are cut."""
PLATEAU_DECAY = 0.1
COLUMNS = ("step", "seconds", "learning_rate", "loss", "validation_dice")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """What a recipe learns from. Without ``validation`` the last weights are kept: for cross-validation."""

    real: Pictures
    phantoms: Pictures | None = None
    validation: Pictures | None = None


def train(
    recipe: Recipe,
    material: Material,
    *,
    out: Path,
    start: Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> UNet2d:
    """Train and return the network with the best weights.

    ``start``: weights to begin with instead of random ones. ``resume``: go on from ``out``'s ``last.pt`` if there is
    one; raises ``ValueError`` where that belongs to another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = _Run(recipe, device, start)
    if resume and (out / "last.pt").exists():
        run.restore(out / "last.pt")
    batches = Batches(recipe, material.real, material.phantoms, device)
    pace = recipe.pace
    bar = tqdm(total=pace.steps, initial=run.step, desc=recipe.name, unit="step", disable=not progress)
    while run.step < pace.steps and not run.exhausted:
        run.learn(batches)
        bar.update()
        bar.set_postfix(loss=f"{run.loss:.3f}", refresh=False)
        if run.step % pace.validate_every == 0 or run.step == pace.steps:
            run.look_back(material.validation)
            run.save(out)
    bar.close()
    network = UNet2d(recipe.widths, channels_in=recipe.channels, dropout=recipe.dropout)
    network.load_state_dict(torch.load(out / "best.pt", map_location="cpu", weights_only=True))
    return network.eval()


class _Run:
    """The state of a training, all of which goes into ``last.pt``."""

    def __init__(self, recipe: Recipe, device: torch.device, start: Path | None) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self._device = recipe, device
        self.step, self.loss, self.exhausted = 0, 0.0, False
        self._best, self._since_best, self._since_decay = -1.0, 0, 0
        self._rows: list[tuple[float, ...]] = []
        self._before_s, self._started = 0.0, time.monotonic()
        self._network = UNet2d(recipe.widths, channels_in=recipe.channels, dropout=recipe.dropout).to(device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        if start is not None:
            self._network.load_state_dict(torch.load(start, map_location=device, weights_only=True))
        self._average = AveragedModel(
            self._network,
            multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(), lr=recipe.pace.learning_rate, weight_decay=recipe.weight_decay
        )
        self._cycle = _cycle(self._optimiser, recipe.pace)
        self._best_weights = _copied(self._network)

    def learn(self, batches: Batches) -> None:
        """One step."""
        recipe = self.recipe
        self._network.train()
        batch = batches.draw(self.step)
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)  # for dropout
        with torch.autocast(self._device.type, torch.bfloat16):
            logits = self._network(batch.inputs)
        loss = segmentation_loss(
            recipe.loss,
            logits.float(),
            batch.target,
            batch.lungs,
            total_variation_weight=recipe.total_variation_weight,
        )
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), LARGEST_GRADIENT)
        self._optimiser.step()
        if self._cycle is not None:
            self._cycle.step()
        if recipe.average:
            self._average.update_parameters(self._network)
        self.loss = loss.item() if self.step == 0 else 0.95 * self.loss + 0.05 * loss.item()
        self.step += 1

    def look_back(self, validation: Pictures | None) -> None:
        """Validate, keep the best weights, and move the learning rate where the schedule says so."""
        current = self._average.module if self.recipe.average else self._network
        dice = validate(current, self.recipe, validation, self._device) if validation is not None else float("nan")
        rate = float(self._optimiser.param_groups[0]["lr"])
        seconds = self._before_s + time.monotonic() - self._started
        self._rows.append((self.step, round(seconds, 1), rate, round(self.loss, 5), round(dice, 5)))
        if validation is None or self.recipe.last_weights or dice > self._best:
            self._best, self._since_best, self._since_decay = dice, 0, 0
            self._best_weights = _copied(current)
            return
        self._since_best += 1
        self._since_decay += 1
        if self.recipe.pace.schedule is Schedule.PLATEAU:
            self.exhausted = self._since_best >= self.recipe.pace.stop_after
            if self._since_decay >= self.recipe.pace.decay_after:
                self._since_decay = 0
                for group in self._optimiser.param_groups:
                    group["lr"] *= PLATEAU_DECAY

    def save(self, out: Path) -> None:
        """Everything, so that a kill at any moment leaves the state of the last validation whole."""
        _save_whole(self._best_weights, out / "best.pt")
        with (out / "curve.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            table.writerows(self._rows)
        save_training_curve(out / "curve.png", self.recipe.name, self._rows)
        state: dict[str, Any] = {
            "recipe": repr(self.recipe),
            "network": self._network.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "cycle": self._cycle.state_dict() if self._cycle is not None else {},
            "best_weights": self._best_weights,
            "numbers": {name: getattr(self, name) for name in _NUMBERS},
            "rows": self._rows,
            "seconds": self._rows[-1][1],
        }
        _save_whole(state, out / "last.pt")

    def restore(self, path: Path) -> None:
        """Go on where ``save`` left off."""
        state = torch.load(path, map_location=self._device, weights_only=True)
        if state["recipe"] != repr(self.recipe):
            raise ValueError(f"{path} is of another recipe or pace: give another folder, or delete it to start anew")
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        if self._cycle is not None:
            self._cycle.load_state_dict(state["cycle"])
        self._best_weights, self._rows, self._before_s = state["best_weights"], state["rows"], state["seconds"]
        for name, value in state["numbers"].items():
            setattr(self, name, value)


_NUMBERS = ("step", "loss", "exhausted", "_best", "_since_best", "_since_decay")


def _cycle(optimiser: torch.optim.Optimizer, pace: Pace) -> torch.optim.lr_scheduler.OneCycleLR | None:
    if pace.schedule is not Schedule.ONE_CYCLE:
        return None
    return torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=pace.learning_rate, total_steps=pace.steps, pct_start=0.15
    )


def _copied(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def _save_whole(content: object, path: Path) -> None:
    """Never half a file under the final name."""
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    os.replace(partial, path)  # noqa: PTH105  # atomic, and it says so


@torch.inference_mode()
def validate(network: torch.nn.Module, recipe: Recipe, pictures: Pictures, device: torch.device) -> float:
    """Pooled Dice at one half over an even sample of the pictures."""
    network.eval()
    chosen = np.unique(np.linspace(0, len(pictures) - 1, VALIDATION_PICTURES).astype(int))
    truth = pictures.target(recipe.target)
    shared = total = 0
    for part in np.array_split(chosen, max(len(chosen) // 16, 1)):
        with torch.autocast(device.type, torch.bfloat16):
            marked = (network(network_inputs(recipe, pictures, part, device)) > 0).cpu().numpy()[:, 0]
        shared += int((marked & truth[part]).sum())
        total += int(marked.sum()) + int(truth[part].sum())
    return 2 * shared / total if total else 1.0
