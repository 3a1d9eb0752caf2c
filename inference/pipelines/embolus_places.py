"""Where an embolus can be: between and in the lungs, not in the chest wall, the arms or the table.

The models look at small patches and know little of anatomy; the mask of the lungs does. A box whose middle lies outside
is dropped before boxes become emboli.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.findings import Box
from inference.pipelines.lung_regions import Lungs
from inference.volume import Volume

WALL_MM = 5.0
"""So far inside of the lungs' hull ribs and their cartilage may reach: no artery large enough to be judged does."""


def inside_chest(boxes: Sequence[Box], volume: Volume, lungs: Lungs, small: Volume) -> list[Box]:
    """The boxes of ``volume`` whose middle lies in the convex hull of both lungs of its slice, given on ``small``."""
    hulls: dict[int, NDArray[np.bool_]] = {}
    kept = []
    rows, columns = volume.array_zyx.shape[1:]
    for box in boxes:
        k = box.slice_index
        if k not in hulls:
            hulls[k] = hull_of_slice(
                lungs.left[k] | lungs.right[k], margin_mm=WALL_MM, pixel_mm=small.spacing_xyz_mm[0]
            )
        left, top, right, bottom = box.box_xyxy_px
        hull = hulls[k]
        row = min(int((top + bottom) / 2 * hull.shape[0] / rows), hull.shape[0] - 1)
        column = min(int((left + right) / 2 * hull.shape[1] / columns), hull.shape[1] - 1)
        if hull[row, column]:
            kept.append(box)
    return kept


def hull_of_slice(lung: NDArray[np.bool_], *, margin_mm: float, pixel_mm: float) -> NDArray[np.bool_]:
    """The convex hull of a mask (rows, columns), ``margin_mm`` narrower. Empty where the mask is."""
    hull = np.zeros(lung.shape, np.uint8)
    if lung.any():
        outline, _ = cv2.findContours(lung.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(outline)), 1)
        size = 2 * round(margin_mm / pixel_mm) + 1
        # A hull that touches the picture's edge is cut there, not narrowed.
        cv2.erode(hull, np.ones((size, size), np.uint8), dst=hull, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return hull > 0
