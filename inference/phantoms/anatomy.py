"""The shapes of a chest as signed distances in mm, negative inside.

Owns where things are; ``painting`` says what they look like. Space: LPS in mm, origin between the
hila. Sizes are those of an adult of 1.7 m, varied by a few per cent from patient to patient.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from inference.phantoms.fields import Array, NoiseField, ellipse, ellipsoid, intersection, union

SCAN_LENGTH_MM = 300.0
"""Length of the scan along the patient: from under the deepest recess to above the lungs' tops."""
LOWEST_Z_MM = -162.0
"""Caudal end of the scan."""

_CAGE_Z_MM = (-170.0, -110.0, -60.0, 0.0, 45.0, 80.0, 100.0, 115.0, 122.0, 130.0)
_CAGE_HALF_WIDTH_MM = (126.0, 130.0, 130.0, 122.0, 109.0, 90.0, 74.0, 55.0, 36.0, 6.0)
_CAGE_HALF_DEPTH_MM = (86.0, 90.0, 90.0, 84.0, 74.0, 62.0, 53.0, 42.0, 30.0, 6.0)
BACK_DEEPER = 1.1
"""The cage reaches further back from the middle than to the front: lungs lie beside the spine."""
_COLUMN_Y_MM = (-95.0, -70.0, -45.0, -15.0, 20.0, 60.0, 100.0)
_COLUMN_HALF_WIDTH_MM = (5.0, 5.0, 16.0, 30.0, 24.0, 20.0, 20.0)
"""The mediastinum between the lungs, from the breastbone to the spine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """One patient. Lengths in mm; ``size`` scales the whole chest."""

    size: float
    squareness: float
    """Exponent of the rib cage's superellipse: 2 is an ellipse."""
    heart: float
    """Size of the heart relative to the usual one."""
    fat_mm: float
    muscle_mm: float
    dome_right_mm: float
    dome_left_mm: float
    dome_depth_mm: float
    """How far the costophrenic recess lies under the dome."""
    rib_phase_mm: float
    parenchyma_hu: float
    """CT number of healthy lung; depends on how deeply the patient breathed in."""
    carina_z_mm: float
    wobble: NoiseField
    """Slow displacement of all surfaces."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """A patient at random."""
        return cls(
            size=float(rng.uniform(0.92, 1.06)),
            squareness=float(rng.uniform(2.1, 2.6)),
            heart=float(rng.uniform(0.86, 1.1)),
            fat_mm=float(rng.uniform(6, 22)),
            muscle_mm=float(rng.uniform(6, 13)),
            dome_right_mm=float(rng.uniform(-62, -42)),
            dome_left_mm=float(rng.uniform(-74, -58)),
            dome_depth_mm=float(rng.uniform(50, 74)),
            rib_phase_mm=float(rng.uniform(0, 24)),
            parenchyma_hu=float(rng.uniform(-885, -825)),
            carina_z_mm=float(rng.uniform(26, 38)),
            wobble=NoiseField.draw(rng, wavelength_mm=55.0),
        )

    def cage(self, x: Array, y: Array, z: float, *, outwards_mm: float = 0.0) -> Array:
        """Inner surface of the rib cage."""
        half_width = self.size * np.float32(np.interp(z, _CAGE_Z_MM, _CAGE_HALF_WIDTH_MM)) + outwards_mm
        front = self.size * np.float32(np.interp(z, _CAGE_Z_MM, _CAGE_HALF_DEPTH_MM)) + outwards_mm
        half_depth = np.where(y > 0, BACK_DEEPER * front, front)
        p = np.float32(self.squareness)
        q = (np.abs(x / half_width) ** p + np.abs(y / half_depth) ** p) ** (1 / p)
        distance: Array = (q - 1) * np.sqrt(half_width * half_depth)
        return distance.astype(np.float32, copy=False)

    @property
    def wall_mm(self) -> float:
        """Ribs, muscle and fat together, from the cage to the skin."""
        return 14.0 + self.muscle_mm + self.fat_mm

    def front_y_mm(self, z: float) -> float:
        """Where the breastbone's inner surface lies."""
        return -self.size * float(np.interp(z, _CAGE_Z_MM, _CAGE_HALF_DEPTH_MM))

    def body(self, x: Array, y: Array, z: float) -> Array:
        """The skin. Above the hila it narrows less than the cage does: muscles of the shoulders lie between."""
        return self.cage(x, y, z if z < 20.0 else 20.0 + 0.35 * (z - 20.0), outwards_mm=self.wall_mm)

    def heart_surface(self, x: Array, y: Array, z: float) -> Array:
        """The heart in its sac: most of it on the patient's left."""
        s = self.heart * self.size
        return ellipsoid(x, y, z, centre=(20.0 * s, -22.0, -42.0), radii=(62.0 * s, 46.0 * s, 50.0 * s), tilt=0.4)

    def descending_aorta(self, x: Array, y: Array, z: float) -> Array:
        """From the arch down along the spine's left side."""
        disc = ellipse(x, y, centre=(22.0, 30.0), radii=(12.0, 12.0))
        return disc if z < 55.0 else np.full_like(disc, 99.0)

    @property
    def vertebra_y_mm(self) -> float:
        """Middle of the vertebral bodies."""
        return 50.0 * self.size

    def spine(self, x: Array, y: Array) -> Array:
        """Vertebra with the soft tissue beside it, as the lungs see it."""
        return ellipse(x, y, centre=(0.0, self.vertebra_y_mm + 14.0), radii=(24.0, 34.0))

    def mediastinum(self, x: Array, y: Array, z: float) -> Array:
        """All that lies between the lungs, the roots of the lungs (hila) included."""
        half_width = np.interp(y, _COLUMN_Y_MM, _COLUMN_HALF_WIDTH_MM).astype(np.float32)
        column = np.abs(x - 2.0 + 3.0 * self.wobble.at(x, y, z)) - half_width
        hilum_z = self.carina_z_mm - 20.0
        return union(
            column,
            ellipsoid(x, y, z, centre=(-36.0, 6.0, hilum_z), radii=(15.0, 13.0, 24.0)),
            ellipsoid(x, y, z, centre=(36.0, 9.0, hilum_z + 6.0), radii=(14.0, 13.0, 22.0)),
            ellipsoid(x, y, z, centre=(16.0, 14.0, self.carina_z_mm + 20.0), radii=(22.0, 36.0, 13.0)),
            self.heart_surface(x, y, z),
            self.descending_aorta(x, y, z),
            self.spine(x, y),
            k=6.0,
        )

    def diaphragm(self, x: Array, y: Array, z: float) -> Array:
        """What lies under the two domes."""
        right, left = (
            top
            - self.dome_depth_mm
            * np.minimum(((x - side * 62.0 * self.size) / 66.0) ** 2 + ((y + 8.0) / 84.0) ** 2, 1.5)
            for side, top in ((-1.0, self.dome_right_mm), (1.0, self.dome_left_mm))
        )
        distance: Array = (z - np.where(x < 0, right, left)) * 0.75 + 2.0 * self.wobble.at(x, y, z)
        return distance.astype(np.float32)

    def lungs(self, x: Array, y: Array, z: float) -> tuple[Array, Array]:
        """Left and right lung."""
        cage = self.cage(x, y, z) + 2.0 * self.wobble.at(x, y, z)
        both = intersection(cage, -self.mediastinum(x, y, z), -self.diaphragm(x, y, z), k=5.0)
        return np.maximum(both, 2.0 - x), np.maximum(both, x - 2.0)
