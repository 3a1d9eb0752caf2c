"""What a scanner and its reconstruction add: blur, noise with a grain, padding outside the circle.

Owns the step from true CT numbers to the stored ones. Noise is correlated from pixel to pixel as a soft
or a sharp reconstruction kernel leaves it.
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.phantoms.anatomy import Anatomy
from inference.phantoms.fields import Array
from inference.volume import HU_AIR

HU_LARGEST = 3071
"""Largest CT number of a 12-bit scanner with the usual intercept of −1024."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scanner:
    """One protocol: field of view, sharpness, dose."""

    size_px: int
    field_of_view_mm: float
    centre_mm: tuple[float, float]
    """Patient position (x, y) of the middle of the picture."""
    blur_mm: float
    noise_hu: float
    sharp: float
    """Share of the sharp kernel in the grain of the noise, 0 to 1."""

    @classmethod
    def draw(cls, anatomy: Anatomy, rng: np.random.Generator, *, size_px: int) -> Self:
        """A protocol at random whose field of view holds the patient."""
        body_mm = 2 * (131.0 * anatomy.size + anatomy.wall_mm)
        return cls(
            size_px=size_px,
            field_of_view_mm=float(body_mm * rng.uniform(1.01, 1.16)),
            centre_mm=(float(rng.normal(0, 3)), float(rng.uniform(0, 14))),
            blur_mm=float(rng.uniform(0.4, 0.7)),
            noise_hu=float(np.exp(rng.uniform(np.log(6), np.log(24)))),
            sharp=float(rng.uniform(0, 1)),
        )

    @property
    def pixel_mm(self) -> float:
        """Distance between neighbouring pixel centres."""
        return self.field_of_view_mm / self.size_px

    @property
    def first_pixel_mm(self) -> tuple[float, float]:
        """Patient position (x, y) of the centre of the first pixel."""
        x, y = (centre - (self.field_of_view_mm - self.pixel_mm) / 2 for centre in self.centre_mm)
        return x, y

    def acquire(self, hu: Array, rng: np.random.Generator) -> NDArray[np.int16]:
        """Stored CT numbers of one slice from the true ones."""
        seen = cv2.GaussianBlur(hu, (0, 0), max(self.blur_mm / self.pixel_mm, 0.3))
        white = rng.standard_normal(hu.shape, dtype=np.float32)
        soft = cv2.GaussianBlur(white, (0, 0), 1.0)
        grain = soft / float(soft.std()) * (1 - self.sharp) + (white - soft) / float((white - soft).std()) * self.sharp
        noisy = seen + grain * np.float32(self.noise_hu / float(grain.std()))
        stored: NDArray[np.int16] = np.clip(np.rint(noisy), HU_AIR, HU_LARGEST).astype(np.int16)
        stored[~self._circle()] = HU_AIR
        return stored

    def _circle(self) -> NDArray[np.bool_]:
        """The pixels that were reconstructed."""
        offsets = np.arange(self.size_px) - (self.size_px - 1) / 2
        circle: NDArray[np.bool_] = offsets[None, :] ** 2 + offsets[:, None] ** 2 <= (self.size_px / 2) ** 2
        return circle
