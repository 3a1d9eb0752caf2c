"""The one preparation of CT pulmonary angiograms for the two embolism models.

Phantoms in training and DICOM at run time all pass here. Every slice is brought onto a field of fixed size in mm around
the lungs, in a window that separates clots (40-110 HU) from contrast (250-450 HU); each model sees a slice between two
neighbours, since a clot goes on from slice to slice and a lymph node seldom does.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.volume import Volume

SIZE_PX = 416
"""YOLOv4's usual input, and that of Kiourt et al. 2021."""
PIXEL_MM = 0.7
"""416 × 0.7 mm: 291 mm, as wide as the lungs of all but the largest adults."""
WINDOW_HU = (-200.0, 600.0)
"""Mapped to 0-255: 3 HU a grey level, less than the noise."""
NEIGHBOUR_MM = 2.0
"""How far off the two neighbours lie, by as many slices as come nearest to it; at least one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Where the prepared pictures lie in the slices of one volume. Pixels count from outer corners (see ``Box``)."""

    centre_xy_px: tuple[float, float]
    """Of the field, in columns and rows of the volume."""
    pixel_xy_mm: tuple[float, float]
    """Of the volume."""

    def to_volume(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
        """Boxes (…, 4) of prepared pictures in columns and rows of the volume."""
        scale = PIXEL_MM / np.array(self.pixel_xy_mm * 2)
        return np.asarray((boxes_xyxy - SIZE_PX / 2) * scale + np.array(self.centre_xy_px * 2), np.float64)

    def from_volume(self, boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
        """The way back."""
        scale = PIXEL_MM / np.array(self.pixel_xy_mm * 2)
        return np.asarray((boxes_xyxy - np.array(self.centre_xy_px * 2)) / scale + SIZE_PX / 2, np.float64)

    def picture(self, slice_hu: NDArray[np.int16]) -> NDArray[np.uint8]:
        """One slice (rows, columns) as grey levels (416, 416); black where the volume ends."""
        scale_x, scale_y = (PIXEL_MM / pixel for pixel in self.pixel_xy_mm)
        # Centres of pixels lie half a pixel from their corners, on both sides of the mapping.
        start = [
            centre + scale * (0.5 - SIZE_PX / 2) - 0.5
            for centre, scale in zip(self.centre_xy_px, (scale_x, scale_y), strict=True)
        ]
        to_slice = np.array([[scale_x, 0.0, start[0]], [0.0, scale_y, start[1]]])
        low, high = WINDOW_HU
        grey = np.clip((slice_hu.astype(np.float32) - low) * (255.0 / (high - low)), 0, 255)
        moved = cv2.warpAffine(
            np.rint(grey).astype(np.uint8), to_slice, (SIZE_PX, SIZE_PX), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        return moved.astype(np.uint8, copy=False)


def field_around(lungs: NDArray[np.bool_], *, pixel_xy_mm: tuple[float, float]) -> Field:
    """The field in the middle of the lungs' box; ``lungs`` (slices, rows, columns) must not be empty.

    ``pixel_xy_mm``: of the grid of ``lungs``.
    """
    centres = []
    for axes in ((0, 1), (0, 2)):
        used = np.flatnonzero(lungs.any(axis=axes))
        centres.append((float(used[0]) + float(used[-1]) + 1) / 2)
    return Field(centre_xy_px=(centres[0], centres[1]), pixel_xy_mm=pixel_xy_mm)


def neighbour_step(slice_distance_mm: float) -> int:
    """How many slices off the neighbours lie."""
    return max(1, round(NEIGHBOUR_MM / slice_distance_mm))


def prepared_slices(volume: Volume, field: Field, span: slice) -> NDArray[np.uint8]:
    """Slices of ``span`` between their neighbours, (n, 3, 416, 416): the one below, itself, the one above.

    At the volume's ends the slice takes the place of the missing neighbour.
    """
    last = len(volume.array_zyx) - 1
    step = neighbour_step(volume.spacing_xyz_mm[2])
    wanted = np.arange(span.start, span.stop)[:, None] + np.array((-step, 0, step))
    wanted = np.where((wanted < 0) | (wanted > last), wanted[:, 1:2], wanted)
    needed = np.unique(wanted)
    pictures = {int(k): field.picture(volume.array_zyx[k]) for k in needed}
    return np.stack([np.stack([pictures[int(k)] for k in row]) for row in wanted])
