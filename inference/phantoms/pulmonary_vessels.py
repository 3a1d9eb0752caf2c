"""The pulmonary arterial tree from the trunk to the tips, and the veins that run beside it.

Owns the central vessels (trunk, main and interlobar arteries, left atrium with its veins), whose course is given, and
grows lobar, segmental and finer branches into the lungs as ``trees`` does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.phantoms.anatomy import Anatomy
from inference.phantoms.trees import Segments, grow, joined, points_in_lungs

TIPS = 260
"""Of the tree of one lobe group (upper or lower) of one lung."""
TIP_MM = 0.45
EXPONENT = 2.3
"""r_parent^n = Σ r_child^n. Lower than for the small vessels: measured arteries from lobe to segment widen faster."""
TRUNK_MM, MAIN_MM, INTERLOBAR_MM = 13.0, 9.5, 7.0
"""Radii in an adult of usual size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PulmonaryVessels:
    """``arteries``: piece 0 is the trunk; ``parents`` lead from every piece back to it. ``veins`` end in the atrium."""

    arteries: Segments
    veins: Segments


def grow_pulmonary_vessels(anatomy: Anatomy, rng: np.random.Generator) -> PulmonaryVessels:
    """Arteries and veins of both lungs."""
    central = _central_arteries(anatomy, rng)
    arteries, veins = [central], [_atrium(anatomy)]
    grown_from: list[int] = []
    for side, points in zip((1.0, -1.0), points_in_lungs(anatomy, rng), strict=True):
        hilum, interlobar = (1, 2) if side > 0 else (4, 5)
        root_z = central.ends_mm[hilum, 1, 2]
        for piece, lobe in ((hilum, points[points[:, 2] > root_z]), (interlobar, points[points[:, 2] <= root_z])):
            tips = lobe[rng.choice(len(lobe), TIPS)]
            arteries.append(grow(central.ends_mm[piece, 1], tips, TIP_MM, rng, exponent=EXPONENT))
            grown_from.append(piece)
            tips = lobe[rng.choice(len(lobe), TIPS)]
            mouth = veins[0].ends_mm[2 if side > 0 else 1, 1]
            veins.append(grow(mouth, tips, TIP_MM, rng, exponent=EXPONENT))
    tree = joined(arteries)
    firsts = np.cumsum([len(part.radii_mm) for part in arteries])[:-1]
    tree.parents[firsts] = grown_from
    return PulmonaryVessels(arteries=tree, veins=joined(veins))


def _central_arteries(anatomy: Anatomy, rng: np.random.Generator) -> Segments:
    """Trunk (0), left main (1) and interlobar (2) artery, right main in two pieces (3, 4), right interlobar (5)."""
    carina = anatomy.carina_z_mm
    width = anatomy.size * float(rng.uniform(0.85, 1.2))  # wide where the pressure is high
    root, fork = _point(19, -30, -14), _point(17, -16, carina - 9)
    left, right_middle, right = (
        _point(35, 2, carina - 10),
        _point(-6, 0, carina - 15),
        _point(-36, 4, carina - 19),
    )
    courses = [
        (root, fork, TRUNK_MM, -1),
        (fork, left, MAIN_MM, 0),
        (left, _point(43, 12, carina - 36), INTERLOBAR_MM, 1),
        (fork, right_middle, MAIN_MM, 0),
        (right_middle, right, MAIN_MM * 0.95, 3),
        (right, _point(-43, 10, carina - 40), INTERLOBAR_MM, 4),
    ]
    return Segments(
        ends_mm=np.stack([np.stack([start, end]) for start, end, _, _ in courses]),
        radii_mm=np.array([radius * width for _, _, radius, _ in courses]),
        parents=np.array([parent for _, _, _, parent in courses]),
    )


def _atrium(anatomy: Anatomy) -> Segments:
    """Left atrium (0) with the common mouths of the right (1) and the left (2) veins."""
    z = anatomy.carina_z_mm - 44.0
    return Segments(
        ends_mm=np.array(
            [
                [(-12.0, 6.0, z), (20.0, 6.0, z)],
                [(-12.0, 6.0, z), (-36.0, 2.0, z + 3.0)],
                [(20.0, 6.0, z), (38.0, 2.0, z + 5.0)],
            ]
        ),
        radii_mm=np.array((15.0, 6.0, 6.0)) * anatomy.size,
        parents=np.array((-1, 0, 0)),
    )


def _point(x: float, y: float, z: float) -> NDArray[np.float64]:
    return np.array((x, y, z), np.float64)
