"""Vessels and airways of the lungs, grown into the lungs of one patient.

Owns the branching: the points that a tree must reach are halved again and again along their longest
axis, each half is fed by one branch, and radii follow Murray's law from the tips to the root.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.phantoms.anatomy import LOWEST_Z_MM, SCAN_LENGTH_MM, Anatomy
from inference.phantoms.fields import Grid

MURRAY_EXPONENT = 2.8
"""r_parent^n = Σ r_child^n; 3 in Murray's law, a little less in measured lungs."""
VESSEL_TIP_MM = 0.4
"""Radius of the thinnest vessels that are drawn; CT shows little below."""
VESSEL_TIPS = 800
"""Tips of one tree (arteries or veins) of one lung."""
AIRWAY_TIPS = 34
AIRWAY_TIP_MM = 0.9
_STEP = 0.42
"""Share of the way to the middle of its points that a branch runs before it divides."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segments:
    """Straight pieces of tubes: ``ends_mm`` (pieces, 2, 3), ``radii_mm`` (pieces,).

    ``parents`` (pieces,): index of the piece that feeds each; −1 where a tree begins.
    """

    ends_mm: NDArray[np.float64]
    radii_mm: NDArray[np.float64]
    parents: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """All tubes of the lungs."""

    vessels: Segments
    airways: Segments


def grow_trees(anatomy: Anatomy, rng: np.random.Generator) -> Trees:
    """Arteries, veins and airways of both lungs, with trachea and main bronchi."""
    vessels: list[Segments] = []
    airways = [_trachea(anatomy)]
    for side, points in zip((1.0, -1.0), points_in_lungs(anatomy, rng), strict=True):
        z = anatomy.carina_z_mm - 14.0
        for root in ((side * 34.0, 4.0, z), (side * 30.0, 14.0, z - 18.0)):
            tips = points[rng.choice(len(points), VESSEL_TIPS)]
            vessels.append(grow(np.array(root), tips, VESSEL_TIP_MM, rng))
        airways.append(_grow_airways_of(points, np.array((side * 34.0, 8.0, z)), rng))
    return Trees(vessels=joined(vessels), airways=joined(airways))


def grow_airways(anatomy: Anatomy, rng: np.random.Generator) -> Segments:
    """Airways of both lungs, with trachea and main bronchi."""
    airways = [_trachea(anatomy)]
    z = anatomy.carina_z_mm - 14.0
    for side, points in zip((1.0, -1.0), points_in_lungs(anatomy, rng), strict=True):
        airways.append(_grow_airways_of(points, np.array((side * 34.0, 8.0, z)), rng))
    return joined(airways)


def _grow_airways_of(points: NDArray[np.float64], root: NDArray[np.float64], rng: np.random.Generator) -> Segments:
    """Airways of the lung with these points."""
    tips = points[rng.choice(len(points), AIRWAY_TIPS)]
    return grow(root, root + 0.62 * (tips - root), AIRWAY_TIP_MM, rng)


def points_in_lungs(anatomy: Anatomy, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Random points of the left and of the right lung, evenly spread."""
    grid = Grid.covering(width_mm=300.0, centre_mm=(0.0, 0.0), pixels=60)
    found: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    for z in np.arange(LOWEST_Z_MM, LOWEST_Z_MM + SCAN_LENGTH_MM, 5.0):
        for distance, points in zip(anatomy.lungs(grid.x, grid.y, float(z)), found, strict=True):
            rows, columns = np.nonzero(distance < -1.0)
            points.append(np.column_stack([grid.x[0, columns], grid.y[rows, 0], np.full(len(rows), z)]))
    return [np.concatenate(points) + rng.uniform(-2.5, 2.5, (sum(map(len, points)), 3)) for points in found]


def grow(
    root: NDArray[np.float64],
    tips: NDArray[np.float64],
    tip_mm: float,
    rng: np.random.Generator,
    *,
    exponent: float = MURRAY_EXPONENT,
) -> Segments:
    """One tree from ``root`` (3,) to ``tips`` (tips, 3), in mm. A branch is two pieces, with a bend between."""
    ends: list[NDArray[np.float64]] = []
    radii: list[float] = []
    parents: list[int] = []
    waiting = [(root, tips, -1)]
    while waiting:
        start, points, parent = waiting.pop()
        middle = points.mean(axis=0)
        reach = 1.0 if len(points) == 1 else _STEP
        end = start + reach * (middle - start)
        bend = (start + end) / 2 + rng.normal(scale=0.06 * np.linalg.norm(end - start), size=3)
        parents += [parent, len(ends)]
        ends += [np.stack([start, bend]), np.stack([bend, end])]
        radii += [tip_mm * len(points) ** (1 / exponent)] * 2
        if len(points) > 1:
            axis = np.linalg.svd(points - middle, full_matrices=False)[2][0]
            order = np.argsort(points @ axis)
            cut = max(1, min(len(points) - 1, round(len(points) * rng.uniform(0.35, 0.65))))
            last = len(ends) - 1
            waiting += [(end, points[order[:cut]], last), (end, points[order[cut:]], last)]
    return Segments(ends_mm=np.stack(ends), radii_mm=np.array(radii), parents=np.array(parents))


def joined(parts: list[Segments]) -> Segments:
    """All pieces in one; every part keeps its own beginning."""
    firsts = np.cumsum([0, *(len(part.radii_mm) for part in parts)])
    return Segments(
        ends_mm=np.concatenate([part.ends_mm for part in parts]),
        radii_mm=np.concatenate([part.radii_mm for part in parts]),
        parents=np.concatenate(
            [
                np.where(part.parents < 0, -1, part.parents + first)
                for part, first in zip(parts, firsts[:-1], strict=True)
            ]
        ),
    )


def _trachea(anatomy: Anatomy) -> Segments:
    """Windpipe and the two main bronchi, the right one steeper."""
    carina = np.array((0.0, 12.0, anatomy.carina_z_mm))
    top = np.array((-2.0, -6.0, 170.0))
    ends = [(top, carina), (carina, (-34.0, 8.0, carina[2] - 14.0)), (carina, (34.0, 8.0, carina[2] - 14.0))]
    radii = np.array((8.5, 6.5, 5.8)) * anatomy.size
    return Segments(
        ends_mm=np.array([np.stack([a, np.asarray(b)]) for a, b in ends]), radii_mm=radii, parents=np.array((-1, 0, 0))
    )
