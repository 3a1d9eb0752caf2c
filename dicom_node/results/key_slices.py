"""Which slices stand for a study on one page, and which way round an axial slice is shown.

Pure: arrays and an affine in, indices and flips out.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))
"""Where the negative and the positive end of each patient axis lie (LPS, PS3.3 C.7.6.2.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """How a stored slice becomes a picture the radiological way: patient's right on the left, front on top.

    Applied in this order: transpose, flip left-right, flip top-bottom.
    """

    transpose: bool
    flip_columns: bool
    flip_rows: bool
    left_letter: str
    top_letter: str
    pixel_mm: tuple[float, float]
    """Height and width of a pixel of the picture."""

    def apply(self, plane: NDArray[np.generic]) -> NDArray[np.generic]:
        """The plane (rows, columns) turned for showing."""
        turned = plane.T if self.transpose else plane
        turned = turned[:, ::-1] if self.flip_columns else turned
        return turned[::-1] if self.flip_rows else turned

    def apply_to_box(
        self, box_xyxy_px: tuple[float, float, float, float], shape: tuple[int, ...]
    ) -> tuple[float, float, float, float]:
        """A rectangle on a plane of that shape (rows, columns), turned with it; edges, not centres, of pixels."""
        left, top, right, bottom = box_xyxy_px
        rows, columns = shape
        if self.transpose:
            left, top, right, bottom, rows, columns = top, left, bottom, right, columns, rows
        if self.flip_columns:
            left, right = columns - right, columns - left
        if self.flip_rows:
            top, bottom = rows - bottom, rows - top
        return left, top, right, bottom


def presentation(index_to_patient: NDArray[np.float64]) -> Presentation:
    """How slices of a volume with this affine are shown."""
    columns, rows = index_to_patient[:3, 0], index_to_patient[:3, 1]
    # The axis that runs more along left-right becomes the picture's width.
    transpose = abs(rows[0]) > abs(columns[0]) and abs(rows[0]) > abs(rows[1])
    across, down = (rows, columns) if transpose else (columns, rows)
    across_axis, down_axis = int(np.argmax(np.abs(across))), int(np.argmax(np.abs(down)))
    flip_columns = bool(across[across_axis] < 0)
    # Down is the back of the patient; in a coronal or sagittal plane, the feet.
    flip_rows = bool(down[down_axis] < 0) != (down_axis == 2)
    return Presentation(
        transpose=transpose,
        flip_columns=flip_columns,
        flip_rows=flip_rows,
        left_letter=_LETTERS[across_axis][0],
        top_letter=_LETTERS[down_axis][1 if down_axis == 2 else 0],
        pixel_mm=(float(np.linalg.norm(down)), float(np.linalg.norm(across))),
    )


def head_first(slices: list[int], index_to_patient: NDArray[np.float64]) -> list[int]:
    """The slices from head to feet (for other orientations: along the normal)."""
    return sorted(slices, reverse=bool(index_to_patient[2, 2] > 0))


def key_slices(areas: NDArray[np.integer], fallback: NDArray[np.integer], count: int) -> list[int]:
    """Up to ``count`` slices: the largest of ``areas`` in each part of their extent, then evenly out of ``fallback``.

    ``areas``: pixels of what is looked for in each slice; ``fallback``: pixels of the lungs.
    """
    chosen = list(_largest_of_parts(areas, count))
    if len(chosen) < count:
        for candidate in _largest_of_parts(np.minimum(fallback, 1), count):
            if len(chosen) < count and all(abs(candidate - other) > 1 for other in chosen):
                chosen.append(candidate)
    return chosen or _middles(len(areas), count)


def _largest_of_parts(areas: NDArray[np.integer], count: int) -> list[int]:
    held = np.flatnonzero(areas)
    if held.size == 0:
        return []
    edges = np.linspace(held[0], held[-1] + 1, count + 1).round().astype(int)
    chosen = []
    for start, stop in itertools.pairwise(edges):
        part = areas[start:stop]
        if part.size and part.max() > 0:
            # Of equals the middle one: plateaus come from masks that only say yes or no.
            best = np.flatnonzero(part == part.max())
            chosen.append(int(start + best[len(best) // 2]))
    return chosen


def _middles(length: int, count: int) -> list[int]:
    return sorted({int(position) for position in (np.arange(count) + 0.5) * length / count})
