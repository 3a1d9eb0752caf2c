"""Runs a recipe: batches, loss, validation, best weights. Seeded, resumable by hand from ``best.pt``.

Mixed precision: bfloat16 where the processor or GPU has it in hardware.
"""

import csv
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from inference.networks.unet import UNet2d
from inference.training.augmentation import augment
from inference.training.pictures import Pictures
from inference.training.recipes import Recipe

GREY_LEVELS = 255.0
VALIDATION_PICTURES = 96
"""Evenly spread over the validation patients; the whole of them is for ``evaluate``."""
DICE_SMOOTHING = 1.0


def train(
    recipe: Recipe, *, real: Pictures, phantoms: Pictures, validation: Pictures, out: Path, progress: bool = True
) -> UNet2d:
    """Train, write ``best.pt`` and ``curve.csv`` into ``out``, and return the network with the best weights."""
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(recipe.seed)
    network = UNet2d(recipe.widths).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=device.type == "cuda"
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=recipe.learning_rate, total_steps=recipe.steps, pct_start=0.15
    )
    batches = _Batches(recipe, real, phantoms, device)
    best = -1.0
    started = time.monotonic()
    with (out / "curve.csv").open("w", newline="", encoding="utf-8") as file:
        curve = csv.writer(file)
        curve.writerow(["step", "seconds", "loss", "validation_dice"])
        bar = tqdm(range(1, recipe.steps + 1), desc=recipe.model, unit="step", disable=not progress)
        running = 0.0
        for step in bar:
            network.train()
            grey, target = batches.draw()
            with torch.autocast(device.type, torch.bfloat16):
                logits = network(grey)
            loss = segmentation_loss(logits.float(), target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            running = loss.item() if step == 1 else 0.95 * running + 0.05 * loss.item()
            if step % recipe.validate_every == 0 or step == recipe.steps:
                dice = validate(network, validation, recipe.model, device)
                curve.writerow([step, round(time.monotonic() - started, 1), round(running, 5), round(dice, 5)])
                file.flush()
                bar.set_postfix(loss=f"{running:.3f}", dice=f"{dice:.3f}", best=f"{max(best, dice):.3f}")
                if dice > best:
                    best = dice
                    torch.save(network.state_dict(), out / "best.pt")
    network.load_state_dict(torch.load(out / "best.pt", map_location=device, weights_only=True))
    network.eval()
    return network


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
    """Random batches of real pictures and phantoms in the recipe's proportion."""

    def __init__(self, recipe: Recipe, real: Pictures, phantoms: Pictures, device: torch.device) -> None:
        self._device = device
        self._sources = [(one.grey, one.target(recipe.model)) for one in (real, phantoms)]
        of_phantoms = round(recipe.batch * recipe.phantom_share)
        self._counts = (recipe.batch - of_phantoms, of_phantoms)
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
