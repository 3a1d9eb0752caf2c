"""What a served model is given and what it marks on prepared pictures.

A model that looks into the lungs only has a second input; it gets the lungs of the lung model, run by the same
engine, so that its figures are those of the chain that serves.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.engines.base import Engine
from inference.model import Model, Tensors
from inference.models import LungsUnet
from inference.models.slice_preparation import INPUT, LUNGS, OUTPUT


class GreyPictures(Protocol):
    """Prepared pictures of any kind."""

    @property
    def grey(self) -> NDArray[np.uint8]:
        """(n, 256, 256)."""
        ...


def model_inputs(model: Model, engine: Engine, prepared: NDArray[np.float16]) -> Tensors:
    """All inputs of the model for prepared slices (n, 1, 256, 256). Raises ``EngineError``."""
    inputs: dict[str, NDArray[np.generic]] = {INPUT.name: prepared}
    if LUNGS in model.spec.inputs:
        lungs = engine.run(LungsUnet().spec, {INPUT.name: prepared})[OUTPUT.name]
        inputs[LUNGS.name] = (lungs > 0).astype(np.uint8)
    return inputs


def mark(model: Model, engine: Engine, pictures: GreyPictures) -> NDArray[np.bool_]:
    """What the model marks on prepared pictures (n, 256, 256). Raises ``EngineError``."""
    prepared = pictures.grey[:, None].astype(np.float16)
    marked: NDArray[np.bool_] = engine.run(model.spec, model_inputs(model, engine, prepared))[OUTPUT.name] > 0
    return marked
