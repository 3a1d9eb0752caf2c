"""From boxes on slices to emboli: boxes of neighbouring slices that overlap belong together.

Owns what counts as one embolus and how sure the detector is of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.findings import Box, Embolus, Side
from inference.volume import Volume

SMALLEST_SCORE = 0.3
"""Of a box that is looked at; boxes below it do not even prolong an embolus."""
SMALLEST_PEAK = 0.7
"""Of the best box of an embolus. This and ``SHORTEST_MM`` were chosen on whole validation phantoms, with the one real
angiogram in view: of 17 false emboli there (at 0.5 and 2 mm) one is left, at the cost of two of eight clots painted
into it and one of nine in phantoms."""
LINKING_IOU = 0.2
"""Between two boxes of neighbouring slices, or of slices with one between them. A clot moves along its vessel."""
LARGEST_GAP = 2
"""Slices from one box to the next of the same embolus."""
SHORTEST_MM = 5.0
"""Along the slices: shorter ones are dropped as noise. Vessels that turn into the slice look like small clots."""
BEST_BOXES = 3
"""Whose mean score is the embolus's probability."""
SIDE_SHARE = 0.8
"""Of an embolus's boxes on one side of the middle, to be said to lie there."""


@dataclass(slots=True)
class _Chain:
    boxes: list[Box]


def link_boxes(boxes: Sequence[Box], volume: Volume, *, side_of_x_mm: "Sides | None") -> tuple[Embolus, ...]:
    """Emboli by falling probability. ``side_of_x_mm``: where the lungs lie, if that is known.

    The order of ``boxes`` does not matter: numbers, and the UIDs made of them, follow from the boxes alone.
    """
    chains: list[_Chain] = []
    by_slice: dict[int, list[Box]] = {}
    for box in sorted(boxes, key=lambda one: (-one.score, one.box_xyxy_px)):
        if box.score >= SMALLEST_SCORE:
            by_slice.setdefault(box.slice_index, []).append(box)
    for index in sorted(by_slice):
        _prolong(chains, by_slice[index])
    kept = [chain.boxes for chain in chains if _is_believed(chain.boxes, volume)]
    kept.sort(key=lambda found: (-_probability(found), found[0].slice_index))
    return tuple(
        Embolus(
            number=number,
            side=None if side_of_x_mm is None else side_of_x_mm.of(found, volume),
            probability=_probability(found),
            extent_xyz_mm=_extent_mm(found, volume),
            boxes=tuple(found),
        )
        for number, found in enumerate(kept, start=1)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The middle between the lungs in patient coordinates (LPS: x grows to the left)."""

    middle_x_mm: float

    @classmethod
    def between(cls, left: NDArray[np.bool_], right: NDArray[np.bool_], grid: Volume) -> "Sides | None":
        """From the lungs on ``grid``; ``None`` where one of them is missing."""
        if not left.any() or not right.any():
            return None
        middles = []
        for lung in (left, right):
            columns = np.flatnonzero(np.count_nonzero(lung, axis=(0, 1)))
            rows = np.flatnonzero(np.count_nonzero(lung, axis=(0, 2)))
            ends = [grid.patient_mm(index_ijk=(float(i), float(rows.mean()), 0.0))[0] for i in columns[[0, -1]]]
            middles.append(ends)
        # The edges that face each other, so that a small lung does not move the middle.
        return cls(middle_x_mm=(min(middles[0]) + max(middles[1])) / 2)

    def of(self, boxes: Sequence[Box], volume: Volume) -> Side:
        """The side of an embolus; both where it straddles the middle."""
        on_left = [
            volume.patient_mm(
                index_ijk=(
                    (box.box_xyxy_px[0] + box.box_xyxy_px[2]) / 2 - 0.5,
                    (box.box_xyxy_px[1] + box.box_xyxy_px[3]) / 2 - 0.5,
                    float(box.slice_index),
                )
            )[0]
            > self.middle_x_mm
            for box in boxes
        ]
        share = float(np.mean(on_left))
        if share >= SIDE_SHARE:
            return Side.LEFT
        return Side.RIGHT if 1 - share >= SIDE_SHARE else Side.BILATERAL


def _prolong(chains: list[_Chain], boxes: list[Box]) -> None:
    """Give each box of a slice to the chain whose last box it overlaps most; the others begin chains of their own."""
    index = boxes[0].slice_index
    pairs = [
        (overlap, place, chain)
        for place, box in enumerate(boxes)
        for chain in chains
        if 0 < index - chain.boxes[-1].slice_index <= LARGEST_GAP
        and (overlap := _iou(chain.boxes[-1], box)) >= LINKING_IOU
    ]
    taken: set[int] = set()
    for _, place, chain in sorted(pairs, key=lambda pair: -pair[0]):
        if place not in taken and chain.boxes[-1].slice_index < index:
            chain.boxes.append(boxes[place])
            taken.add(place)
    chains += [_Chain([box]) for place, box in enumerate(boxes) if place not in taken]


def _is_believed(boxes: Sequence[Box], volume: Volume) -> bool:
    distance = volume.spacing_xyz_mm[2]
    length = (boxes[-1].slice_index - boxes[0].slice_index + 1) * distance
    return max(box.score for box in boxes) >= SMALLEST_PEAK and length >= SHORTEST_MM


def _probability(boxes: Sequence[Box]) -> float:
    return float(np.mean(sorted((box.score for box in boxes), reverse=True)[:BEST_BOXES]))


def _extent_mm(boxes: Sequence[Box], volume: Volume) -> tuple[float, float, float]:
    corners = np.array([box.box_xyxy_px for box in boxes])
    width, height = corners[:, 2].max() - corners[:, 0].min(), corners[:, 3].max() - corners[:, 1].min()
    x, y, z = volume.spacing_xyz_mm
    return float(width * x), float(height * y), (boxes[-1].slice_index - boxes[0].slice_index + 1) * z


def _iou(first: Box, second: Box) -> float:
    a, b = first.box_xyxy_px, second.box_xyxy_px
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
