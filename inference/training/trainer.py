"""Runs a recipe: batches, loss, validation, best weights. Seeded, resumable by hand from ``best.pt``.

Mixed precision: bfloat16 where the processor or GPU has it in hardware.
"""

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from inference.networks.unet import UNet2d
from inference.training.augmentation import augment
from inference.training.pictures import Pictures, mirrored_normals
from inference.training.recipes import Cycle, Recipe

GREY_LEVELS = 255.0
VALIDATION_PICTURES = 96
"""Evenly spread over the validation patients; the whole of them is for ``evaluate``."""
DICE_SMOOTHING = 1.0
AVERAGE_DECAY = 0.98
"""Of the running average of weights: it looks back some fifty steps."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """What a recipe learns from."""

    real: Pictures
    phantoms: Pictures
    validation: Pictures


def train(recipe: Recipe, material: Material, *, out: Path, start: Path | None = None, progress: bool = True) -> UNet2d:
    """Train, write ``best.pt`` and ``curve.csv`` into ``out``, and return the network with the best weights.

    ``start``: weights to begin with instead of random ones.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(recipe.seed)
    network = UNet2d(recipe.widths).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    if start is not None:
        network.load_state_dict(torch.load(start, map_location=device, weights_only=True))
    with (out / "curve.csv").open("w", newline="", encoding="utf-8") as file:
        curve = csv.writer(file)
        curve.writerow(["cycle", "step", "seconds", "loss", "validation_dice"])
        for number, cycle in enumerate(recipe.cycles):
            best = -1.0  # of this cycle: a later one teaches what validation pictures cannot show
            batches = _Batches(recipe, cycle, material, device)
            progressed = _run_cycle(recipe, cycle, network, batches, progress=progress)
            for step, seconds, loss, current in progressed:
                dice = validate(current, material.validation, recipe.model, device)
                curve.writerow([number + 1, step, round(seconds, 1), round(loss, 5), round(dice, 5)])
                file.flush()
                if dice > best:
                    best = dice
                    torch.save(current.state_dict(), out / "best.pt")
            network.load_state_dict(torch.load(out / "best.pt", map_location=device, weights_only=True))
    network.eval()
    return network


def _run_cycle(
    recipe: Recipe, cycle: Cycle, network: UNet2d, batches: "_Batches", *, progress: bool
) -> Iterator[tuple[int, float, float, UNet2d]]:
    """Step, seconds, running loss and the network to validate, as often as the recipe wants to validate."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=cycle.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=cycle.learning_rate, total_steps=cycle.steps, pct_start=0.15
    )
    average = AveragedModel(
        network,
        multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY),  # type: ignore[no-untyped-call]
        use_buffers=True,
    )
    started, running = time.monotonic(), 0.0
    bar = tqdm(range(1, cycle.steps + 1), desc=recipe.model, unit="step", disable=not progress)
    for step in bar:
        network.train()
        grey, target = batches.draw()
        with torch.autocast(grey.device.type, torch.bfloat16):
            logits = network(grey)
        loss = segmentation_loss(logits.float(), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if cycle.average:
            average.update_parameters(network)
        running = loss.item() if step == 1 else 0.95 * running + 0.05 * loss.item()
        bar.set_postfix(loss=f"{running:.3f}", refresh=False)
        if step % recipe.validate_every == 0 or step == cycle.steps:
            current = average.module if cycle.average else network
            yield step, time.monotonic() - started, float(running), cast(UNet2d, current)


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy plus one minus soft Dice over the whole batch, so that empty pictures count too."""
    probability = torch.sigmoid(logits)
    overlap = 2 * (probability * target).sum() + DICE_SMOOTHING
    dice = overlap / (probability.sum() + target.sum() + DICE_SMOOTHING)
    return F.binary_cross_entropy_with_logits(logits, target) + 1 - dice


@torch.inference_mode()
def validate(network: UNet2d, pictures: Pictures, model: str, device: torch.device) -> float:
    """Pooled Dice at one half over an even sample of the pictures."""
    network.eval()
    chosen = np.unique(np.linspace(0, len(pictures.grey) - 1, VALIDATION_PICTURES).astype(int))
    truth = pictures.target(model)
    shared = total = 0
    for part in np.array_split(chosen, max(len(chosen) // 16, 1)):
        with torch.autocast(device.type, torch.bfloat16):
            marked = (network(_scaled(pictures.grey[part], device)) > 0).cpu().numpy()[:, 0]
        shared += int((marked & truth[part]).sum())
        total += int(marked.sum()) + int(truth[part].sum())
    return 2 * shared / total if total else 1.0


class _Batches:
    """Random batches of all kinds of pictures in the recipe's proportion; real ones take what the others leave."""

    def __init__(self, recipe: Recipe, cycle: Cycle, material: Material, device: torch.device) -> None:
        self._device = device
        extra: list[tuple[Pictures, float]] = [(material.phantoms, recipe.phantom_share)]
        if cycle.mirrored_share:
            extra.append((mirrored_normals(material.real), cycle.mirrored_share))
        extra = [(pictures, share) for pictures, share in extra if len(pictures.grey)]
        counts = [round(recipe.batch * share) for _, share in extra]
        self._counts = (recipe.batch - sum(counts), *counts)
        pictured = (material.real, *(pictures for pictures, _ in extra))
        self._sources = [(one.grey, one.target(recipe.model)) for one in pictured]
        self._random = np.random.default_rng(recipe.seed)
        self._generator = torch.Generator().manual_seed(recipe.seed)

    def draw(self) -> tuple[Tensor, Tensor]:
        """N×1×256×256 in 0-1, and the target as 0 and 1."""
        grey, target = [], []
        for (pictures, targets), count in zip(self._sources, self._counts, strict=True):
            chosen = self._random.integers(0, len(pictures), count)
            grey.append(pictures[chosen])
            target.append(targets[chosen])
        return augment(
            _scaled(np.concatenate(grey), self._device),
            torch.from_numpy(np.concatenate(target)[:, None].astype(np.float32)).to(self._device),
            self._generator,
        )


def _scaled(grey: NDArray[np.uint8], device: torch.device) -> Tensor:
    scaled = torch.from_numpy(grey[:, None].astype(np.float32) / GREY_LEVELS)
    return scaled.to(device, memory_format=torch.channels_last)
