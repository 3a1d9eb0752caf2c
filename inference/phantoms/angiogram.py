"""CT numbers of one slice of a CT pulmonary angiogram: contrast in vessels and heart, clots, and what resembles them.

Owns the contrast phase and the look-alikes (lymph nodes beside arteries, plugged bronchi, motion, streaks beside the
superior vena cava). Everything that has no contrast is painted by ``painting`` first.
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.phantoms.anatomy import Anatomy
from inference.phantoms.capsules import Capsules
from inference.phantoms.emboli import Clot
from inference.phantoms.fields import Array, Grid
from inference.phantoms.painting import SlicePainter
from inference.phantoms.pulmonary_vessels import PulmonaryVessels
from inference.phantoms.trees import Segments, Trees

ARTERIES_HU = (250.0, 450.0)
THICK_MM = 1.1
"""Radius from which vessels are painted exactly; thinner ones as lines, in the lungs only."""
NODE_HU = (25.0, 75.0)
MOST_NODES, MOST_PLUGS = 9, 4
HEART_MOVES_Z_MM = (-95.0, 25.0)
"""Heights at which the heart's beat blurs."""
HALF = 0.5
"""Share of a pixel from which it belongs to a clot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastPhase:
    """CT numbers of the blood. ``motion_mm``: how far the heart pulls what lies beside it."""

    arteries_hu: float
    veins_hu: float
    aorta_hu: float
    cava_hu: float
    mixing_hu: float
    motion_mm: float
    streaks_hu: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """A phase at random in which the pulmonary arteries are well filled."""
        arteries = float(rng.uniform(*ARTERIES_HU))
        return cls(
            arteries_hu=arteries,
            veins_hu=arteries * float(rng.uniform(0.6, 1.05)),
            aorta_hu=arteries * float(rng.uniform(0.3, 0.95)),
            cava_hu=arteries * float(rng.uniform(0.8, 2.2)),
            mixing_hu=float(rng.uniform(4, 18)),
            motion_mm=float(max(rng.normal(0.5, 1.2), 0.0)),
            streaks_hu=float(rng.uniform(0, 60)),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lookalikes:
    """What resembles a clot and is none: lymph nodes outside the arteries, bronchi full of mucus."""

    nodes: Capsules
    plugs: Capsules
    hu: float

    @classmethod
    def draw(cls, vessels: PulmonaryVessels, airways: Segments, rng: np.random.Generator) -> Self:
        """Beside arteries of the hila and the mediastinum."""
        arteries = vessels.arteries
        hosts = rng.choice(np.flatnonzero(arteries.radii_mm > 3.0), int(rng.integers(0, MOST_NODES + 1)))
        radii = rng.uniform(2.5, 8.0, len(hosts))
        aside = rng.normal(size=(len(hosts), 3))
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        middles = arteries.ends_mm[hosts].mean(axis=1) + aside * (arteries.radii_mm[hosts] + radii)[:, None]
        longer = rng.normal(size=(len(hosts), 3)) * radii[:, None] * 0.4
        small = np.flatnonzero((airways.radii_mm > 1.2) & (airways.radii_mm < 4.0))
        plugged = rng.choice(small, int(rng.integers(0, MOST_PLUGS + 1)))
        return cls(
            nodes=Capsules(ends_mm=np.stack([middles - longer, middles + longer], axis=1), radii_mm=radii),
            plugs=Capsules(ends_mm=airways.ends_mm[plugged], radii_mm=airways.radii_mm[plugged] * 1.2),
            hu=float(rng.uniform(*NODE_HU)),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PaintedAngiogram:
    """True CT numbers (float32) and the truth (bool) of one slice."""

    hu: Array
    left_lung: NDArray[np.bool_]
    right_lung: NDArray[np.bool_]
    infected: NDArray[np.bool_]
    clots: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AngiogramPainter:
    """Paints the slices of one patient. ``base`` has the airways but no vessels."""

    base: SlicePainter
    vessels: PulmonaryVessels
    clots: tuple[Clot, ...]
    phase: ContrastPhase
    lookalikes: Lookalikes

    def paint(self, z: float) -> PaintedAngiogram:
        """The slice whose centre lies at ``z`` mm."""
        painted = self.base.paint(z)
        scanner, thickness = self.base.scanner, self.base.thickness_mm
        grid = Grid.covering(width_mm=scanner.field_of_view_mm, centre_mm=scanner.centre_mm, pixels=scanner.size_px)
        hu, lungs = painted.hu, (painted.left_lung | painted.right_lung).astype(np.float32)
        for tubes, value in ((self.lookalikes.nodes, self.lookalikes.hu), (self.lookalikes.plugs, self.lookalikes.hu)):
            _fill(hu, tubes.cover(grid, z, thickness_mm=thickness), value)
        for tubes, value in self._heart_and_great_vessels():
            _fill(hu, tubes.cover(grid, z, thickness_mm=thickness), value)
        for tree, value in ((self.vessels.veins, self.phase.veins_hu), (self.vessels.arteries, self.phase.arteries_hu)):
            thin = tree.radii_mm <= THICK_MM
            lines = Segments(ends_mm=tree.ends_mm[thin], radii_mm=tree.radii_mm[thin], parents=tree.parents[thin])
            _fill(hu, self.base.tubes(lines, z, widen_mm=0.0) * lungs, value)
        veins = Capsules.of(self.vessels.veins, thicker_than_mm=THICK_MM).cover(grid, z, thickness_mm=thickness)
        _fill(hu, veins, self.phase.veins_hu)
        lumen = Capsules.of(self.vessels.arteries, thicker_than_mm=THICK_MM).cover(grid, z, thickness_mm=thickness)
        mixing = self.phase.mixing_hu * self.base.wobble_at(z)
        _fill(hu, lumen, self.phase.arteries_hu + mixing)
        clotted = np.zeros_like(lumen)
        for clot in self.clots:
            share = np.minimum(clot.body.cover(grid, z, thickness_mm=thickness), lumen)
            _fill(hu, share, clot.hu)
            np.maximum(clotted, share, out=clotted)
        hu = self._streaks(self._moved(hu, z), grid, z)
        return PaintedAngiogram(
            hu=hu,
            left_lung=painted.left_lung,
            right_lung=painted.right_lung,
            infected=painted.infected,
            clots=clotted > HALF,
        )

    def _heart_and_great_vessels(self) -> tuple[tuple[Capsules, float], ...]:
        """Chambers and vessels with contrast, in the order of painting."""
        phase, carina = self.phase, self.base.anatomy.carina_z_mm
        aorta = (
            ((-9, -22, -12), (-9, -22, carina + 14), 15),
            ((-9, -22, carina + 14), (6, 0, carina + 20), 13),
            ((6, 0, carina + 20), (22, 30, carina + 14), 12),
            ((22, 30, carina + 14), (22, 30, -170), 12),
            ((36, -22, -46), (58, -32, -66), 19),  # left ventricle
        )
        cava = (((-24, -10, -16), (-24, -10, 86), 9),)
        right_heart = (((-31, -20, -28), (-29, -16, -52), 17), ((4, -48, -36), (26, -50, -58), 17))
        return (
            (_capsules(right_heart, self.base.anatomy), phase.arteries_hu),
            (_capsules(aorta, self.base.anatomy), phase.aorta_hu),
            (_capsules(cava, self.base.anatomy), phase.cava_hu),
        )

    def _moved(self, hu: Array, z: float) -> Array:
        """A second, shifted picture of the middle of the chest shines through where the heart beats."""
        low, high = HEART_MOVES_Z_MM
        if not low < z < high or self.phase.motion_mm < HALF:
            return hu
        shift = self.phase.motion_mm / self.base.scanner.pixel_mm
        moved = cv2.warpAffine(hu, np.array([[1, 0, shift], [0, 1, -shift / 2]]), hu.shape[::-1], borderValue=-1000)
        middle = np.linspace(-1, 1, hu.shape[0], dtype=np.float32)
        near = np.exp(-4 * (middle[:, None] ** 2 + middle[None, :] ** 2)) * np.float32(0.5)
        result: Array = hu + near * (moved - hu)
        return result

    def _streaks(self, hu: Array, grid: Grid, z: float) -> Array:
        """Dark and bright rays from dense contrast in the superior vena cava."""
        if not -16 < z < 86 or self.phase.streaks_hu < 1:
            return hu
        x, y = grid.x + 24.0, grid.y + 10.0
        distance = np.sqrt(x**2 + y**2)
        rays = np.cos(7 * np.arctan2(y, x) + z) * np.exp(-distance / 30.0) * np.clip(distance / 9.0 - 1, 0, 1)
        result: Array = hu + np.float32(self.phase.streaks_hu) * rays.astype(np.float32)
        return result


def base_trees(airways: Segments) -> Trees:
    """Trees for ``AngiogramPainter.base``: the airways alone."""
    nothing = Segments(ends_mm=np.zeros((0, 2, 3)), radii_mm=np.zeros(0), parents=np.zeros(0, np.int64))
    return Trees(vessels=nothing, airways=airways)


def _capsules(
    courses: tuple[tuple[tuple[float, float, float], tuple[float, float, float], float], ...], anatomy: Anatomy
) -> Capsules:
    return Capsules(
        ends_mm=np.array([(start, end) for start, end, _ in courses], np.float64),
        radii_mm=np.array([radius * anatomy.size for _, _, radius in courses]),
    )


def _fill(hu: Array, share: Array, value: Array | float) -> None:
    hu += share * (value - hu)
