"""Agreement of a mask with its truth, from counted pixels.

Owns the definitions of the figures. Counts of several patients add up, so that pooled figures need no joined masks.
Two empty masks agree: every figure is 1 then.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TV_UNET_SMOOTHING = 100
"""``smooth`` in the Jaccard that the authors of TV-UNet report (Saeedizadeh et al. 2021, arXiv 2007.12303)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Counted pixels of a mask and its truth."""

    hit: int
    """Marked, and truly so."""
    marked: int
    true: int
    pixels: int
    """All there are."""
    pictures: int

    @classmethod
    def of(cls, marked: NDArray[np.bool_], truth: NDArray[np.bool_]) -> "Overlap":
        """Over all pictures (n, rows, columns) together."""
        return cls(
            hit=int(np.count_nonzero(marked & truth)),
            marked=int(np.count_nonzero(marked)),
            true=int(np.count_nonzero(truth)),
            pixels=truth.size,
            pictures=len(truth),
        )

    def __add__(self, other: "Overlap") -> "Overlap":
        return Overlap(
            hit=self.hit + other.hit,
            marked=self.marked + other.marked,
            true=self.true + other.true,
            pixels=self.pixels + other.pixels,
            pictures=self.pictures + other.pictures,
        )

    @property
    def wrong(self) -> int:
        """Pixels marked falsely or missed."""
        return self.marked + self.true - 2 * self.hit

    @property
    def accuracy(self) -> float:
        """Share of pixels that are right. High for any model where lesions are small."""
        return 1 - self.wrong / self.pixels

    @property
    def precision(self) -> float:
        """Share of the marked pixels that are true. Nothing marked: 1 where nothing is there, else 0."""
        return self.hit / self.marked if self.marked else float(self.true == 0)

    @property
    def recall(self) -> float:
        """Share of the true pixels that are marked (sensitivity); 1 where there are none."""
        return self.hit / self.true if self.true else 1.0

    @property
    def dice(self) -> float:
        """Dice coefficient, which is F1 of pixels."""
        return 2 * self.hit / (self.marked + self.true) if self.marked + self.true else 1.0

    @property
    def iou(self) -> float:
        """Intersection over union of the foreground (Jaccard index)."""
        return _ratio(self.hit, self.hit + self.wrong)

    @property
    def miou(self) -> float:
        """Mean of the intersections over unions of foreground and background."""
        background = self.pixels - self.hit - self.wrong
        return (self.iou + _ratio(background, background + self.wrong)) / 2

    @property
    def smoothed_jaccard(self) -> float:
        """The "mIoU" of TV-UNet's published code, only to set figures beside theirs: **it cannot fall under 0.98**.

        A Jaccard of each pixel over two complementary channels, smoothed by ``TV_UNET_SMOOTHING``, averaged over
        pixels. A right pixel gives (1 + 100) / (2 - 1 + 100) = 1, a wrong one (0 + 100) / (2 - 0 + 100) = 0.9804: it
        is accuracy squeezed into the last two hundredths. ``iou`` and ``miou`` are the true ones.
        """
        of_a_wrong_pixel = TV_UNET_SMOOTHING / (2 + TV_UNET_SMOOTHING)
        return self.accuracy + (1 - self.accuracy) * of_a_wrong_pixel

    def figures(self) -> dict[str, float | int]:
        """All figures by name, ready for JSON."""
        names = ("dice", "iou", "miou", "precision", "recall", "accuracy", "smoothed_jaccard")
        return {name: getattr(self, name) for name in names} | {"pictures": self.pictures}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
