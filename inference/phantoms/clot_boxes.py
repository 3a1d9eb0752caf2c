"""Truth of detectors: boxes around clots, slice by slice."""

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_MM2 = 8.0
"""Smaller sections get no box: 5 % of the sections in the masks of FUMPE are smaller."""


def clot_boxes(clots: NDArray[np.bool_], *, pixel_mm: float) -> NDArray[np.float64]:
    """Boxes (n, 4) left, top, right, bottom around the 8-connected parts of a mask (rows, columns).

    In pixels from outer corner to outer corner, so that one pixel has a box of 1×1.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(clots.astype(np.uint8), connectivity=8)
    parts = stats[1:]  # the first is the background
    parts = parts[parts[:, cv2.CC_STAT_AREA] * pixel_mm**2 >= SMALLEST_MM2].astype(np.float64)
    left, top, width, height = (parts[:, k] for k in range(4))
    return np.stack([left, top, left + width, top + height], axis=1)
