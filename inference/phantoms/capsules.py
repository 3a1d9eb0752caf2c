"""Tubes with round ends, filled exactly: what of a pixel they cover, seen over a slice's thickness.

Owns the painting of thick vessels and of what lies in them; thin tubes are lines in ``painting``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.phantoms.fields import Array, Grid
from inference.phantoms.trees import Segments

_EDGE_MM = 0.8
"""Over which cover fades from 1 to 0."""
_WITHIN_SLICE = (-0.25, 0.25)
"""Where a slice is looked at, in parts of its thickness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capsules:
    """Tubes with ends ``ends_mm`` (tubes, 2, 3) and ``radii_mm`` (tubes,)."""

    ends_mm: NDArray[np.float64]
    radii_mm: NDArray[np.float64]

    @classmethod
    def of(cls, tubes: Segments, *, thicker_than_mm: float = 0.0) -> "Capsules":
        """The pieces of a tree from this radius on."""
        thick = tubes.radii_mm > thicker_than_mm
        return cls(ends_mm=tubes.ends_mm[thick], radii_mm=tubes.radii_mm[thick])

    def cover(self, grid: Grid, z: float, *, thickness_mm: float) -> Array:
        """Share of every pixel that the tubes fill, 0 to 1."""
        share = np.zeros((grid.y.size, grid.x.size), np.float32)
        for offset in _WITHIN_SLICE:
            seen = self._at(grid, z + offset * thickness_mm)
            share += seen / np.float32(len(_WITHIN_SLICE))
        return share

    def _at(self, grid: Grid, z: float) -> Array:
        share = np.zeros((grid.y.size, grid.x.size), np.float32)
        pixel = float(grid.x[0, 1] - grid.x[0, 0])
        corner = np.array((grid.x[0, 0], grid.y[0, 0]))
        reach = self.radii_mm + _EDGE_MM
        heights = self.ends_mm[:, :, 2]
        near = np.flatnonzero((heights.min(axis=1) - reach < z) & (heights.max(axis=1) + reach > z))
        low = np.floor((self.ends_mm[near, :, :2].min(axis=1) - reach[near, None] - corner) / pixel).astype(int)
        high = np.ceil((self.ends_mm[near, :, :2].max(axis=1) + reach[near, None] - corner) / pixel).astype(int) + 1
        for piece, (left, top), (right, bottom) in zip(
            near, np.maximum(low, 0).tolist(), np.maximum(high, 0).tolist(), strict=True
        ):
            (ax, ay, az), (bx, by, bz) = self.ends_mm[piece]
            dx, dy, dz = bx - ax, by - ay, bz - az
            x = grid.x[:, left:right] - np.float32(ax)
            y = grid.y[top:bottom] - np.float32(ay)
            if not x.size or not y.size:
                continue
            length = max(dx * dx + dy * dy + dz * dz, 1e-6)
            along = np.clip((x * np.float32(dx) + y * np.float32(dy) + np.float32((z - az) * dz)) / length, 0, 1)
            off = (x - along * dx) ** 2 + (y - along * dy) ** 2 + ((z - az) - along * dz) ** 2
            part = np.clip(0.5 - (np.sqrt(off) - self.radii_mm[piece]) / _EDGE_MM, 0, 1)
            target = share[top:bottom, left:right]
            np.maximum(target, part, out=target, casting="same_kind")
        return share
