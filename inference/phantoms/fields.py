"""Arithmetic of shapes on the pixels of one slice.

Owns the grid, signed distances (mm, negative inside), and smooth noise as a function of place, so that a
coarse and a fine grid see the same patient. ``x`` has shape (1, columns), ``y`` (rows, 1), ``z`` is a number.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
"""Values on one slice."""
BLAS_ONE_THREAD = 250_000
"""Multiplications up to which OpenBLAS computes a product on one thread (its default threshold is 262144)."""
Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Pixel centres of a square picture that reaches over ``width_mm``, in patient coordinates."""

    x: Array
    y: Array

    @classmethod
    def covering(cls, *, width_mm: float, centre_mm: tuple[float, float], pixels: int) -> Self:
        """``pixels`` × ``pixels`` cells; every such grid covers exactly the same square."""
        offsets = ((np.arange(pixels) + 0.5) / pixels - 0.5) * width_mm
        x = (offsets + centre_mm[0]).astype(np.float32)[None, :]
        y = (offsets + centre_mm[1]).astype(np.float32)[:, None]
        return cls(x=x, y=y)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoiseField:
    """A sum of plane waves in random directions: smooth, of mean 0 and standard deviation 1."""

    waves: Array
    """Wave vectors in rad/mm, shape (waves, 3)."""
    phases: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, *, wavelength_mm: float, waves: int = 12) -> Self:
        """Waves of about this length, by ± one half."""
        directions = rng.normal(size=(waves, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = wavelength_mm * rng.uniform(0.6, 1.6, size=(waves, 1))
        vectors = directions * (2 * np.pi / lengths)
        return cls(waves=vectors.astype(np.float32), phases=rng.uniform(0, 2 * np.pi, waves).astype(np.float32))

    def at(self, x: Array, y: Array, z: float) -> Array:
        """Values on a slice, shape (rows, columns).

        cos(a + b) = cos a cos b − sin a sin b turns the sum of waves into one matrix product.
        """
        a = y * self.waves[:, 1] + (z * self.waves[:, 2] + self.phases)  # (rows, waves)
        b = self.waves[:, 0][:, None] * x  # (waves, columns)
        scale = np.float32(np.sqrt(2 / len(self.phases)))
        return _product(np.hstack([np.cos(a), -np.sin(a)]) * scale, np.vstack([np.cos(b), np.sin(b)]))


def _product(left: Array, right: Array) -> Array:
    """Matrix product in strips that are too small for BLAS to divide among threads.

    Its threads spin while they wait for each other; beside other busy processes that makes it many times slower.
    """
    rows, inner = left.shape
    strip = max(1, BLAS_ONE_THREAD // (inner * right.shape[1]))
    padded = np.zeros((-(-rows // strip) * strip, inner), np.float32)
    padded[:rows] = left
    values: Array = np.matmul(padded.reshape(-1, strip, inner), right).reshape(-1, right.shape[1])[:rows]
    return values


def union(first: Array, *others: Array, k: float = 0.01) -> Array:
    """Smooth minimum of distances: the shapes together, their seams rounded over about ``k`` mm."""
    result = first
    for other in others:
        h = np.clip(0.5 + 0.5 * (other - result) / k, 0, 1)
        result = other + (result - other) * h - k * h * (1 - h)
    return result


def intersection(first: Array, *others: Array, k: float = 0.01) -> Array:
    """Smooth maximum of distances: what lies in all of the shapes."""
    return -union(-first, *(-other for other in others), k=k)


def ellipse(x: Array, y: Array, *, centre: tuple[float, float], radii: tuple[float, float]) -> Array:
    """A cylinder along the patient with an elliptic section (distance approximate, sign exact)."""
    q = np.sqrt(((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2)
    distance: Array = (q - 1) * np.float32(min(radii))
    return distance


def ellipsoid(x: Array, y: Array, z: float, *, centre: Point, radii: Point, tilt: float = 0.0) -> Array:
    """An ellipsoid (distance approximate, sign exact); ``tilt`` (rad) turns it about the x-y plane's normal."""
    cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
    dx, dy = x - centre[0], y - centre[1]
    u, v = cos * dx + sin * dy, -sin * dx + cos * dy
    q = np.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2 + ((z - centre[2]) / radii[2]) ** 2)
    distance: Array = (q - 1) * np.float32(min(radii))
    return distance
