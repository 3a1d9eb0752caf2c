"""What a trained network says of prepared pictures, on the grid that every recipe is compared on."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from inference.models.slice_preparation import SIZE_PX
from inference.training.batches import network_inputs
from inference.training.prepared_pictures import Pictures
from inference.training.recipes.base import Recipe

AT_ONCE = 8
"""Pictures."""


@torch.inference_mode()
def log_odds(network: torch.nn.Module, recipe: Recipe, pictures: Pictures) -> NDArray[np.float32]:
    """Of the foreground (n, 256, 256), from the network in its own size; float32 throughout."""
    device = next(network.parameters()).device
    network.eval()
    result = np.empty((len(pictures), SIZE_PX, SIZE_PX), np.float32)
    for first in range(0, len(pictures), AT_ONCE):
        rows = np.arange(first, min(first + AT_ONCE, len(pictures)))
        found = network(network_inputs(recipe, pictures, rows, device))[:, 0].cpu().numpy()
        for row, one in zip(rows, found, strict=True):
            result[row] = one if one.shape == (SIZE_PX, SIZE_PX) else cv2.resize(one, (SIZE_PX, SIZE_PX))
    return result


def probabilities(network: torch.nn.Module, recipe: Recipe, pictures: Pictures) -> NDArray[np.float32]:
    """Foreground probability (n, 256, 256)."""
    return sigmoid(log_odds(network, recipe, pictures))


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """From log odds to probability."""
    return np.asarray(1 / (1 + np.exp(-values)), np.float32)
