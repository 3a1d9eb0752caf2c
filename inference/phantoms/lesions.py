"""Ground-glass opacity and consolidation of random size, number and place.

Owns how much of the lungs is diseased and how a lesion is formed: an ellipsoid near the pleura, more often
at the back and below, its surface displaced by noise, its edge faded over some millimetres; a part of
the lesions is consolidated inside. What a lesion does to the CT number is said in ``painting``.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from inference.phantoms.anatomy import LOWEST_Z_MM, SCAN_LENGTH_MM, Anatomy
from inference.phantoms.fields import Array, Grid, NoiseField

SMALLEST_SHARE, LARGEST_SHARE = 0.03, 0.45
"""Diseased share of lung volume aimed at; drawn evenly on a logarithmic scale."""
MOST_LESIONS = 40
_COARSE_MM = 5.0
"""Cells of the grid on which places are chosen and the share is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One lesion. ``radii_mm`` along x, y, z."""

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    edge: float
    """Width of the fading edge relative to the radius."""
    opacity: float
    """0: barely denser than lung; 1: densest ground glass."""
    consolidated: float
    """Depth (relative, from the centre) up to which it is consolidated; 0: not at all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LesionFields:
    """Of one slice, float32 in [0, 1]: presence of ground glass, its opacity, presence of consolidation."""

    ground_glass: Array
    opacity: Array
    consolidation: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesions:
    """All lesions of one patient, and the noise that displaces their surfaces."""

    lesions: tuple[Lesion, ...]
    coarse: NoiseField
    fine: NoiseField

    @classmethod
    def none(cls) -> Self:
        """A patient without lesions."""
        rng = np.random.default_rng(0)
        return cls(
            lesions=(),
            coarse=NoiseField.draw(rng, wavelength_mm=28.0),
            fine=NoiseField.draw(rng, wavelength_mm=9.0),
        )

    @classmethod
    def draw(cls, anatomy: Anatomy, rng: np.random.Generator) -> Self:
        """Lesions until the diseased share that was drawn is reached."""
        empty = cls(
            lesions=(),
            coarse=NoiseField.draw(rng, wavelength_mm=28.0, waves=16),
            fine=NoiseField.draw(rng, wavelength_mm=9.0, waves=24),
        )
        share = float(np.exp(rng.uniform(np.log(SMALLEST_SHARE), np.log(LARGEST_SHARE))))
        typical_mm = float(rng.uniform(9.0, 20.0)) + 30.0 * share
        consolidating = float(rng.uniform(0.0, 0.6))
        points, weights = _places(anatomy)
        diseased = np.zeros(len(points), np.bool_)
        drawn: list[Lesion] = []
        while diseased.mean() < share and len(drawn) < MOST_LESIONS:
            lesion = _draw_lesion(points[rng.choice(len(points), p=weights)], typical_mm, consolidating, rng)
            drawn.append(lesion)
            diseased |= (((points - lesion.centre_mm) / lesion.radii_mm) ** 2).sum(axis=1) < 1.0
        return cls(lesions=tuple(drawn), coarse=empty.coarse, fine=empty.fine)

    def at(self, x: Array, y: Array, z: float) -> LesionFields:
        """What the lesions are on one slice."""
        ground_glass = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32)
        opacity, consolidation = np.zeros_like(ground_glass), np.zeros_like(ground_glass)
        near = [lesion for lesion in self.lesions if abs(z - lesion.centre_mm[2]) < 1.7 * lesion.radii_mm[2]]
        if not near:
            return LesionFields(ground_glass=ground_glass, opacity=opacity, consolidation=consolidation)
        rough = 0.26 * self.coarse.at(x, y, z) + 0.06 * self.fine.at(x, y, z)
        for lesion in near:
            (cx, cy, cz), (rx, ry, rz) = lesion.centre_mm, lesion.radii_mm
            depth = 1.0 - np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2) + rough
            presence = np.clip(0.5 + depth / lesion.edge, 0, 1)
            ground_glass = np.maximum(ground_glass, presence)
            opacity = np.maximum(opacity, presence * lesion.opacity)
            if lesion.consolidated > 0:
                core = depth + 0.13 * self.fine.at(x, y, z + 40.0) - (1.0 - lesion.consolidated)
                consolidation = np.maximum(consolidation, np.clip(0.5 + core / 0.4, 0, 1))
        return LesionFields(
            ground_glass=ground_glass.astype(np.float32),
            opacity=opacity.astype(np.float32),
            consolidation=consolidation.astype(np.float32),
        )


def _draw_lesion(
    centre: NDArray[np.float64], typical_mm: float, consolidating: float, rng: np.random.Generator
) -> Lesion:
    radius = typical_mm * float(np.exp(rng.normal(0, 0.35)))
    x, y, z = radius * rng.uniform(0.7, 1.4, size=3)
    return Lesion(
        centre_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
        radii_mm=(float(x), float(y), float(z)),
        edge=float(rng.uniform(0.2, 0.8)),
        opacity=float(rng.uniform(0.0, 1.0)),
        consolidated=float(rng.uniform(0.35, 1.0)) if rng.uniform() < consolidating else 0.0,
    )


def _places(anatomy: Anatomy) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cells of both lungs (mm), and how likely a lesion begins there: by the pleura, at the back, low."""
    grid = Grid.covering(width_mm=300.0, centre_mm=(0.0, 0.0), pixels=int(300 / _COARSE_MM))
    points: list[NDArray[np.float64]] = []
    weights: list[NDArray[np.float64]] = []
    for z in np.arange(LOWEST_Z_MM, LOWEST_Z_MM + SCAN_LENGTH_MM, _COARSE_MM):
        left, right = anatomy.lungs(grid.x, grid.y, float(z))
        cage = anatomy.cage(grid.x, grid.y, float(z))
        rows, columns = np.nonzero(np.minimum(left, right) < 0)
        points.append(np.column_stack([grid.x[0, columns], grid.y[rows, 0], np.full(len(rows), z)]))
        depth_mm, back_mm = -cage[rows, columns], grid.y[rows, 0]
        weights.append(np.exp(-depth_mm / 12.0) * np.exp(back_mm / 70.0) * np.exp(-z / 150.0) + 0.02)
    everywhere = np.concatenate(weights)
    return np.concatenate(points), everywhere / everywhere.sum()
