"""Is there an embolus on this slice? MobileNetV2 on a slice between its neighbours.

Trained by ``inference/training/recipes/pe_classifier.py``; its card is ``triton_models/pe_classifier/CARD.md``.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.model import ModelSpec, Tensors, TensorSpec
from inference.models.angiogram_preparation import SIZE_PX
from inference.volume import Volume

INPUT_PX = 224
CROP_PX = 320
"""Middle of the prepared picture that is looked at: 224 mm, so that one pixel is one millimetre."""

INPUT = TensorSpec(name="slices", dtype="uint8", shape=(3, INPUT_PX, INPUT_PX))
"""Grey levels of ``angiogram_preparation``: the slice below, the slice, the slice above."""
OUTPUT = TensorSpec(name="probabilities", dtype="float32", shape=(2,))
"""Softmax over no embolus, embolus."""

SPEC = ModelSpec(
    name="pe_classifier",
    version="2",
    inputs=(INPUT,),
    outputs=(OUTPUT,),
    labels=("no embolus", "embolus"),
    source="MobileNetV2 (Sandler et al. 2018) after Kiourt et al. 2021",
    trained_on="synthetic phantoms, and emboli painted into one real CT; from ImageNet weights",
    licence="Apache-2.0",
)


def centre_crop(picture: NDArray[np.uint8], *, change: NDArray[np.float64] | None = None) -> NDArray[np.uint8]:
    """The middle of a prepared picture (416, 416, channels) as (224, 224, channels).

    ``change``: affine map (2, 3) in parts of the crop around its middle, from the result to the crop; for training.
    """
    move = np.eye(2, 3) if change is None else change
    scale = CROP_PX / INPUT_PX
    # Pixel p of the result shows pixel scale · (M p + t) of the picture, both counted from their middles.
    matrix = scale * move[:, :2]
    offset = matrix @ np.full(2, 0.5 - INPUT_PX / 2) + CROP_PX * move[:, 2] + SIZE_PX / 2 - 0.5
    cut = cv2.warpAffine(
        np.ascontiguousarray(picture),
        np.column_stack([matrix, offset]),
        (INPUT_PX, INPUT_PX),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    return cut.astype(np.uint8, copy=False)


class PeClassifier:
    """A ``Model`` that gives each slice a probability."""

    @property
    def spec(self) -> ModelSpec:
        """The model's fixed facts."""
        return SPEC

    def prepare(self, pictures: NDArray[np.uint8]) -> Tensors:
        """From ``angiogram_preparation.prepared_slices`` (n, 3, 416, 416)."""
        prepared = np.empty((len(pictures), *INPUT.shape), np.uint8)
        for target, picture in zip(prepared, pictures, strict=True):
            target[...] = centre_crop(picture.transpose(1, 2, 0)).transpose(2, 0, 1)
        return {INPUT.name: prepared}

    def interpret(self, outputs: Tensors, volume: Volume) -> NDArray[np.float32]:
        """Probability of an embolus, one for each slice given (n,)."""
        probability: NDArray[np.float32] = outputs[OUTPUT.name][:, 1]
        return probability
