"""What the U-Nets on single slices share: one way back to the volume's grid."""

import numpy as np
from numpy.typing import NDArray

from inference.model import ModelSpec, Tensors
from inference.models.slice_labels import labels_on_grid
from inference.volume import Volume


class SliceUnet:
    """A ``Model`` that reads every axial slice by itself and marks one kind of tissue."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    @property
    def spec(self) -> ModelSpec:
        """The model's fixed facts."""
        return self._spec

    def interpret(self, outputs: Tensors, volume: Volume) -> NDArray[np.uint8]:
        """Labels on the grid of ``volume``: 0 background, 1 what the model marks (``spec.labels``)."""
        return labels_on_grid(outputs, volume)
