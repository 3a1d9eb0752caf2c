"""From the labels of 256×256 slices back to the grid of the volume that they were prepared from."""

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.model import Tensors
from inference.models.slice_preparation import OUTPUT
from inference.volume import Volume


def labels_on_grid(outputs: Tensors, volume: Volume) -> NDArray[np.uint8]:
    """Labels 0/1 in the shape of ``volume.array_zyx``: see ``labels_enlarged``."""
    slices, rows, columns = volume.array_zyx.shape
    labels: NDArray[np.uint8] = outputs[OUTPUT.name]
    if len(labels) != slices:
        raise ValueError(f"{len(labels)} label slices for a volume of {slices}")
    return labels_enlarged(labels, rows=rows, columns=columns)


def labels_enlarged(labels: NDArray[np.uint8], *, rows: int, columns: int) -> NDArray[np.uint8]:
    """Labels 0/1 (n, 256, 256) as (n, rows, columns): linear between the model's pixels, cut at one half."""
    if (rows, columns) == OUTPUT.shape:
        return labels
    result = np.zeros((len(labels), rows, columns), np.uint8)
    for k in np.flatnonzero(labels.any(axis=(1, 2))):
        smooth = cv2.resize(labels[k] * np.uint8(254), (columns, rows), interpolation=cv2.INTER_LINEAR)
        np.greater(smooth, 127, out=result[k].view(np.bool_))
    return result
