"""The lung masks that lesion models train with and are scored with: those of the served lung model."""

import numpy as np
from numpy.typing import NDArray

from inference.engines.base import Engine
from inference.models import LungsUnet
from inference.models.slice_preparation import INPUT, OUTPUT
from inference.training.prepared_pictures import FindLungs


def lungs_by(engine: Engine) -> FindLungs:
    """Lungs (n, 256, 256) as 0 and 1 of equalised slices. It raises ``EngineError``.

    Networks see the masks of a model as it serves, and not only the flawless ones of the data set. On the patients
    that the lung model itself was trained on they are a little too good.
    """
    spec = LungsUnet().spec

    def find(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = engine.run(spec, {INPUT.name: grey[:, None].astype(np.float16)})[OUTPUT.name]
        return found

    return find
