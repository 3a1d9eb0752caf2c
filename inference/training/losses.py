"""What the recipes minimise. Dice comes from MONAI; the total variation is the paper's sum, made free of size.

Every loss takes logits N×1×H×W, the target (0 and 1) and the lungs (0 and 1) of the same shape.
"""

from enum import Enum

import torch
from monai.losses.dice import DiceLoss
from torch import Tensor
from torch.nn import functional as F


class Loss(Enum):
    """The terms that a recipe adds up."""

    CROSS_ENTROPY = "cross-entropy"
    """Binary, mean over pixels (S0's sigmoid output; with ``tv_weight`` the loss of S1)."""
    CROSS_ENTROPY_AND_DICE = "cross-entropy plus soft Dice"
    """Dice over the whole batch, so that pictures without foreground count too."""
    DICE_INSIDE_LUNGS = "soft Dice inside the lungs"
    """S3: pixels outside the lungs are not looked at."""


_DICE = DiceLoss(batch=True, smooth_nr=1.0, smooth_dr=1.0)
"""Over the whole batch as one picture, smoothed by one pixel (as S3's authors do)."""


def segmentation_loss(
    kind: Loss, logits: Tensor, target: Tensor, lungs: Tensor, *, total_variation_weight: float = 0.0
) -> Tensor:
    """The scalar to minimise."""
    probability = torch.sigmoid(logits)
    if kind is Loss.DICE_INSIDE_LUNGS:
        loss: Tensor = _DICE(probability * lungs, target * lungs)
    else:
        loss = F.binary_cross_entropy_with_logits(logits, target)
        if kind is Loss.CROSS_ENTROPY_AND_DICE:
            loss = loss + _DICE(probability, target)
    if total_variation_weight:
        loss = loss + total_variation_weight * total_variation(probability)
    return loss


def total_variation(probability: Tensor) -> Tensor:
    """Anisotropic total variation (Saeedizadeh et al. 2020): the sum of absolute differences of neighbours.

    The sum is the outline's length in pixels, which doubles where a picture is drawn at twice the size; it is divided
    by the picture's width (the root of its area), so that a weight means the same at every size. Mean over pictures.
    """
    down = (probability[:, :, 1:] - probability[:, :, :-1]).abs().sum(dim=(1, 2, 3))
    across = (probability[:, :, :, 1:] - probability[:, :, :, :-1]).abs().sum(dim=(1, 2, 3))
    height, width = probability.shape[-2:]
    mean: Tensor = ((down + across) / (height * width) ** 0.5).mean()
    return mean
