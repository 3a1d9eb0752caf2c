"""Random batches of all kinds of pictures in a recipe's proportion.

Every batch depends on the recipe's seed and its step alone, so that a training resumed after a kill draws the same
batches as one that was never stopped.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.training.augmentation import augment, found_lungs
from inference.training.cases.base import LUNG
from inference.training.prepared_pictures import Pictures, mirrored_normals
from inference.training.recipes.base import Recipe

GREY_LEVELS = 255.0
CROP_MULTIPLE_PX = 16
"""Sides of crops: U-Nets of up to five levels halve four times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """``inputs`` N×C×H×W in 0-1, ``target`` and ``lungs`` (the reference) N×1×H×W of 0 and 1."""

    inputs: Tensor
    target: Tensor
    lungs: Tensor


class Batches:
    """Draws batches. Real pictures take what phantoms and mirrored pictures leave."""

    def __init__(self, recipe: Recipe, real: Pictures, phantoms: Pictures | None, device: torch.device) -> None:
        self._recipe, self._device = recipe, device
        shares: list[tuple[Pictures, float]] = []
        if phantoms is not None and recipe.phantom_share:
            shares.append((phantoms, recipe.phantom_share))
        if recipe.mirrored_share and len(mirrored := mirrored_normals(real)):
            shares.append((mirrored, recipe.mirrored_share))
        counts = [round(recipe.pace.batch * share) for _, share in shares]
        self._sources = [
            (real, recipe.pace.batch - sum(counts), _weights(real, balanced=recipe.balanced)),
            *((pictures, count, None) for (pictures, _), count in zip(shares, counts, strict=True)),
        ]
        crop = round(recipe.crop * recipe.size_px / CROP_MULTIPLE_PX) * CROP_MULTIPLE_PX
        self._crop_px = min(crop, recipe.size_px)

    def draw(self, step: int) -> Batch:
        """The batch of that step."""
        random = np.random.default_rng((self._recipe.seed, step))
        generator = torch.Generator().manual_seed(self._recipe.seed * 1_000_003 + step)
        rows = [
            (pictures, random.choice(len(pictures), count, p=weights)) for pictures, count, weights in self._sources
        ]
        grey = np.concatenate([pictures.grey[chosen] for pictures, chosen in rows])
        target = np.concatenate([pictures.target(self._recipe.target)[chosen] for pictures, chosen in rows])
        reference = np.concatenate([pictures.palette[chosen] >= LUNG for pictures, chosen in rows])
        found = np.concatenate([pictures.lungs[chosen] for pictures, chosen in rows])
        masks = torch.from_numpy(np.stack([target, reference, found], axis=1).astype(np.float32)).to(self._device)
        inputs, masks = augment(scaled(grey, self._device), masks, generator, crop_px=self._crop_px)
        lungs = masks[:, 1:2]
        if self._recipe.lung_channel:
            inputs = torch.cat([inputs, found_lungs(lungs, masks[:, 2:3], generator)], dim=1)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        return Batch(inputs=inputs, target=masks[:, 0:1], lungs=lungs)


def network_inputs(recipe: Recipe, pictures: Pictures, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """Unchanged pictures as the network gets them when it serves: the lungs are the model's."""
    grey = scaled(pictures.grey[rows], device)
    if not recipe.lung_channel:
        return grey
    lungs = torch.from_numpy(pictures.lungs[rows][:, None].astype(np.float32)).to(device)
    return torch.cat([grey, lungs], dim=1)


def scaled(grey: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Grey levels (n, rows, columns) as N×1×H×W in 0-1."""
    return torch.from_numpy(grey[:, None].astype(np.float32) / GREY_LEVELS).to(
        device, memory_format=torch.channels_last
    )


def _weights(pictures: Pictures, *, balanced: bool) -> NDArray[np.float64] | None:
    """Chance of each picture; ``None``: the same for all. Balanced: a patient counts by the root of its pictures."""
    if not balanced:
        return None
    counts = np.bincount(pictures.patient)[pictures.patient]
    weights = 1 / np.sqrt(counts)
    return np.asarray(weights / weights.sum())
