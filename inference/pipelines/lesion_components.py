"""From infected voxels to lesions: connected components that are large enough to be believed.

Owns what counts as one lesion and what is dropped as noise of the model. Works on the models' grid; volumes are
counted on the source grid, so that they add up to the mask that is delivered.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.findings import Lesion, Side
from inference.pipelines.working_grid import bounding_box
from inference.volume import Volume

Mask3D = NDArray[np.bool_]

SMALLEST_LESION_ML = 3.0
"""Smaller components are dropped: a sphere of 18 mm. Of the 35 components that the model marks in a patient read as
normal (COVID-CT-MD) 33 are smaller; of a diseased one it costs 2 % of the infected volume and no labelled slice."""
THINNEST_LESION_HU = -850
"""Mean of a component: below it is ordinary lung or air. Ground glass is denser by definition."""
SMALLEST_AREA_MM2 = 50.0
"""Smaller spots within a slice are dropped: 8 mm across, what a vessel or the fading end of a lesion looks like."""
FEWEST_SLICES = 2
"""Components seen in one slice only are dropped where slices lie close together (``THICK_SLICE_MM``)."""
THICK_SLICE_MM = 4.0
"""From this slice distance on, a true lesion may lie in one slice only."""
BILATERAL_SHARE = 0.05
"""Of a lesion's volume that lies in the other lung at least, to be called bilateral."""
_TOUCHING = np.ones((3, 3, 3), np.int8)
"""26-connectivity."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Components:
    """Numbered components on the models' grid: ``labels_zyx`` is 0 outside."""

    labels_zyx: NDArray[np.int32]
    count: int

    @property
    def mask(self) -> Mask3D:
        """All components together."""
        return self.labels_zyx > 0


def find_components(infected: Mask3D, volume: Volume) -> Components:
    """26-connected components that are large enough; ``volume`` has the same grid."""
    everywhere = np.zeros(infected.shape, np.int32)
    box = bounding_box(infected)
    if box is None:
        return Components(labels_zyx=everywhere, count=0)
    labels, count = ndimage.label(_without_spots(infected[box], volume), structure=_TOUCHING)
    labels = labels.astype(np.int32, copy=False)
    labelled = labels > 0  # few cells are: counting only those is much faster
    cells = np.bincount(labels[labelled], minlength=count + 1)
    kept = cells * volume.voxel_ml >= SMALLEST_LESION_ML
    hu = np.bincount(labels[labelled], weights=volume.array_zyx[box][labelled], minlength=count + 1)
    kept &= hu >= THINNEST_LESION_HU * cells
    if volume.spacing_xyz_mm[2] < THICK_SLICE_MM:
        for label, (z, _, _) in enumerate(ndimage.find_objects(labels), start=1):
            kept[label] &= z.stop - z.start >= FEWEST_SLICES
    kept[0] = False
    renumbered = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    everywhere[box] = renumbered[labels]
    return Components(labels_zyx=everywhere, count=int(kept.sum()))


def _without_spots(infected: Mask3D, volume: Volume) -> Mask3D:
    """Without parts of a slice that are smaller than ``SMALLEST_AREA_MM2``."""
    across_mm, down_mm, _ = volume.spacing_xyz_mm
    kept = np.zeros_like(infected)
    for k in np.flatnonzero(infected.any(axis=(1, 2))):
        _, spots, stats, _ = cv2.connectedComponentsWithStats(infected[k].astype(np.uint8), connectivity=8)
        large = stats[:, cv2.CC_STAT_AREA] * across_mm * down_mm >= SMALLEST_AREA_MM2
        large[0] = False  # the background
        kept[k] = large[spots]
    return kept


def describe(components: Components, *, infected: Mask3D, left: Mask3D, volume: Volume) -> tuple[Lesion, ...]:
    """The lesions by falling volume, measured in the masks ``infected`` and ``left`` on the grid of ``volume``."""
    measured = _Measures(components.count)
    for k in np.flatnonzero(components.labels_zyx.any(axis=(1, 2))):
        measured.add_slice(int(k), components.labels_zyx[k], infected[k], left[k], volume.array_zyx[k])
    order = np.argsort(-measured.voxels[1:], kind="stable") + 1
    found = [label for label in order if measured.voxels[label]]
    return tuple(measured.lesion(int(label), number, volume) for number, label in enumerate(found, start=1))


class _Measures:
    """Sums over the voxels of each component, gathered slice by slice."""

    def __init__(self, count: int) -> None:
        self.voxels = np.zeros(count + 1, np.int64)
        self._in_left = np.zeros(count + 1, np.int64)
        self._hu = np.zeros(count + 1)
        self._sum_ijk = np.zeros((3, count + 1))
        self._low_ijk = np.full((3, count + 1), np.iinfo(np.int64).max)
        self._high_ijk = np.full((3, count + 1), -1, np.int64)

    def add_slice(
        self,
        k: int,
        labels: NDArray[np.int32],
        infected: NDArray[np.bool_],
        left: NDArray[np.bool_],
        hu: NDArray[np.int16],
    ) -> None:
        rows, columns = np.nonzero(infected)
        if not len(rows):
            return
        # The enlarged contour runs up to one cell outside the component's own cells: grow the labels by one.
        grown = cv2.dilate(labels.astype(np.float32), np.ones((3, 3), np.uint8))
        label = grown[rows * labels.shape[0] // infected.shape[0], columns * labels.shape[1] // infected.shape[1]]
        label = label.astype(np.int64)
        size = len(self.voxels)
        self.voxels += np.bincount(label, minlength=size)
        self._in_left += np.bincount(label[left[rows, columns]], minlength=size)
        self._hu += np.bincount(label, weights=hu[rows, columns], minlength=size)
        for axis, index in enumerate((columns, rows, np.full(len(rows), k))):
            self._sum_ijk[axis] += np.bincount(label, weights=index, minlength=size)
            np.minimum.at(self._low_ijk[axis], label, index)
            np.maximum.at(self._high_ijk[axis], label, index)

    def lesion(self, label: int, number: int, volume: Volume) -> Lesion:
        voxels = int(self.voxels[label])
        low, high = self._low_ijk[:, label], self._high_ijk[:, label]
        x, y, z = ((high - low + 1) * volume.spacing_xyz_mm).tolist()
        i, j, k = (self._sum_ijk[:, label] / voxels).tolist()
        return Lesion(
            number=number,
            side=_side(float(self._in_left[label]) / voxels),
            volume_ml=voxels * volume.voxel_ml,
            extent_xyz_mm=(x, y, z),
            centroid_mm=volume.patient_mm(index_ijk=(i, j, k)),
            slices=(int(low[2]), int(high[2])),
            mean_hu=float(self._hu[label]) / voxels,
        )


def _side(left_share: float) -> Side:
    if left_share > 1 - BILATERAL_SHARE:
        return Side.LEFT
    return Side.RIGHT if left_share < BILATERAL_SHARE else Side.BILATERAL
