"""Both lungs as one label, lesions included: a 2D U-Net on single axial slices.

Trained by ``inference/training/recipes.py`` ("lungs_unet"); its card is ``triton_models/lungs_unet/CARD.md``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.model import ModelSpec, Tensors
from inference.models.slice_labels import labels_on_grid
from inference.models.slice_preparation import INPUT, OUTPUT, prepare_slices
from inference.volume import Volume

SPEC = ModelSpec(
    name="lungs_unet",
    version="1",
    inputs=(INPUT,),
    outputs=(OUTPUT,),
    labels=("background", "lung"),
    source="2D U-Net; data: Ma et al., COVID-19-CT-Seg-Benchmark, doi 10.1002/mp.14676",
    trained_on="12 public COVID-19 CT cases and synthetic phantoms",
    licence="CC BY-NC-SA 4.0, research only",
)


@dataclass(frozen=True, slots=True)
class LungsUnet:
    """See the module."""

    @property
    def spec(self) -> ModelSpec:
        """The model's fixed facts."""
        return SPEC

    def prepare(self, volume: Volume) -> Tensors:
        """Every slice, prepared as the training pictures were."""
        return {INPUT.name: prepare_slices(volume.array_zyx)}

    def interpret(self, outputs: Tensors, volume: Volume) -> NDArray[np.uint8]:
        """Labels on the grid of ``volume``: 0 background, 1 lung."""
        return labels_on_grid(outputs, volume)
