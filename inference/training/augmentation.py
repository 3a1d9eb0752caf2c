"""Random changes of whole batches, on the device where training runs.

Geometry: flips (a part of the public cases is upside down), rotation, size, shift. Contrast: the scanners differ and
the public pictures were equalised, so brightness curve, contrast, noise and sharpness vary widely. Our own, because
MONAI's transforms work picture by picture on the processor that has to train; these take a batch in one go.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

ROTATION_DEG = 15.0
SCALE = (0.8, 1.2)
SHIFT = 0.08
"""Of the picture's width."""
GAMMA = (0.7, 1.4)
CONTRAST = (0.75, 1.3)
NOISE = 0.06
"""Largest standard deviation, of grey levels scaled to 0-1."""


def augment(grey: Tensor, masks: Tensor, generator: torch.Generator, *, crop_px: int) -> tuple[Tensor, Tensor]:
    """Turned, scaled, shifted, flipped and cropped alike; the contrast of ``grey`` changed.

    ``grey`` N×1×H×H scaled to 0-1, ``masks`` N×M×H×H of 0 and 1; both come back with ``crop_px`` rows and columns.
    """
    crop = crop_px / grey.shape[-1]
    grid = F.affine_grid(
        _transforms(len(grey), crop, generator).to(grey.device),
        [len(grey), 1, crop_px, crop_px],
        align_corners=False,
    )
    grey = F.grid_sample(grey, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    masks = F.grid_sample(masks, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return _contrast(grey, generator), masks


def found_lungs(reference: Tensor, found: Tensor, generator: torch.Generator) -> Tensor:
    """The lung mask that a network is given: half of the time the reference, else the model's; its rim unsure.

    N×1×H×W of 0 and 1. Served networks get the mask of a model, which cuts lesions off now and then.
    """
    count = len(reference)
    chosen = torch.where(_column(count, generator, reference.device) < 0.5, reference, found)
    rim = 0.3 + 0.4 * _column(count, generator, reference.device)
    return (F.avg_pool2d(chosen, 5, stride=1, padding=2) > rim).to(reference.dtype)


def _column(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(count, generator=generator).to(device)[:, None, None, None]


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _transforms(count: int, crop: float, generator: torch.Generator) -> Tensor:
    angle = _uniform(count, -ROTATION_DEG, ROTATION_DEG, generator) * math.pi / 180
    size = crop / _uniform(count, *SCALE, generator)
    flip_x, flip_y = (torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1 for _ in range(2))
    cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
    reach = 1 - crop + SHIFT
    shift_x, shift_y = (_uniform(count, -reach, reach, generator) for _ in range(2))
    return torch.stack([torch.stack([cos * flip_x, -sin, shift_x], 1), torch.stack([sin, cos * flip_y, shift_y], 1)], 1)


def _contrast(grey: Tensor, generator: torch.Generator) -> Tensor:
    count, device = len(grey), grey.device

    def column(low: float, high: float) -> Tensor:
        return low + (high - low) * _column(count, generator, device)

    grey = grey.clamp(min=0.0) ** column(*GAMMA)
    grey = (grey - 0.5) * column(*CONTRAST) + 0.5 + column(-0.08, 0.08)
    blurred = F.avg_pool2d(grey, 3, stride=1, padding=1)
    grey = torch.lerp(grey, blurred, column(0.0, 1.0).round() * column(0.0, 1.0))
    noise = torch.randn(grey.shape, generator=generator).to(device)
    return (grey + noise * column(0.0, NOISE)).clamp(0.0, 1.0)
