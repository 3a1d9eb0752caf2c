"""The truth: a phantom's regions on any grid, and the paint that tells them.

Owns the Hounsfield units of each tissue. A generated chest CT is resampled to the nearest voxel at the patient
position of each pixel, and every tissue gets one value of its own, so that what the slices hold *is* the truth.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from inference.findings import Region
from inference.phantoms import Phantom, chest_ct

SEED = 4
SLICES, SIZE_PX = 120, 160
"""Of the phantom that the grids cut: finer than they are."""
_BODY_ABOVE_HU = -500


class Paint(IntEnum):
    """Hounsfield units of each tissue."""

    AIR = -1000
    LEFT_LUNG = -860
    RIGHT_LUNG = -830
    LEFT_INFECTED = -420
    RIGHT_INFECTED = -390
    BODY = 40
    MARKER = 1500
    """One pixel of the study, for the box around it."""


REGIONS: dict[Region, tuple[Paint, ...]] = {
    Region.LEFT_LUNG: (Paint.LEFT_LUNG, Paint.LEFT_INFECTED),
    Region.RIGHT_LUNG: (Paint.RIGHT_LUNG, Paint.RIGHT_INFECTED),
    Region.INFECTED_REGION: (Paint.LEFT_INFECTED, Paint.RIGHT_INFECTED),
}


def region_mask(region: Region, hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Where painted Hounsfield units (any shape) belong to a region."""
    return np.isin(hu, REGIONS[region])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Where a frame lies, as its header says it."""

    position_mm: tuple[float, float, float]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, float]
    """Between rows, between columns."""

    def centres_mm(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Patient positions of pixels, shape (..., 3): equation C.7.6.2.1-1 of PS3.3, nothing else."""
        centres_mm: NDArray[np.float64] = (
            np.array(self.position_mm)
            + columns[..., None] * self.spacing_mm[1] * np.array(self.orientation[:3])
            + rows[..., None] * self.spacing_mm[0] * np.array(self.orientation[3:])
        )
        return centres_mm


def painted(plane: Plane, shape: tuple[int, int]) -> NDArray[np.int16]:
    """One frame (rows, columns) cut out of the phantom."""
    rows, columns = np.indices(shape)
    tissue, to_index = _tissue()
    index = plane.centres_mm(rows, columns) @ to_index[:3, :3].T + to_index[:3, 3]
    i, j, k = np.moveaxis(np.rint(index).astype(int), -1, 0)
    depth, height, width = tissue.shape
    inside = (k >= 0) & (k < depth) & (j >= 0) & (j < height) & (i >= 0) & (i < width)
    frame = np.full(shape, Paint.AIR, np.int16)
    frame[inside] = tissue[k[inside], j[inside], i[inside]]
    return frame


@cache
def _tissue() -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """The phantom in paint, and the affine from patient to index."""
    phantom: Phantom = chest_ct(seed=SEED, slices=SLICES, size_px=SIZE_PX)
    tissue = np.full(phantom.volume.array_zyx.shape, Paint.AIR, np.int16)
    tissue[phantom.volume.array_zyx > _BODY_ABOVE_HU] = Paint.BODY
    for mask, healthy, infected in (
        (phantom.left_lung, Paint.LEFT_LUNG, Paint.LEFT_INFECTED),
        (phantom.right_lung, Paint.RIGHT_LUNG, Paint.RIGHT_INFECTED),
    ):
        tissue[mask] = healthy
        tissue[mask & phantom.infected] = infected
    return tissue, np.linalg.inv(phantom.volume.index_to_patient).astype(np.float64)
