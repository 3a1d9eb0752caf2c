"""Boxes in the chest wall, beside the patient and on the table are no emboli."""

import numpy as np

from inference.findings import Box
from inference.pipelines.embolus_places import hull_of_slice, inside_chest
from inference.pipelines.lung_regions import Lungs
from inference.volume import Volume

SIZE = 128


def volume(size: int, pixel_mm: float) -> Volume:
    return Volume(
        array_zyx=np.zeros((3, size, size), np.int16),
        index_to_patient=np.diag([pixel_mm, pixel_mm, 2.0, 1.0]),
        frame_of_reference_uid="1.2",
    )


def lungs() -> Lungs:
    """Two bars on slices 0 and 1; slice 2 has none."""
    left, right = (np.zeros((3, SIZE, SIZE), np.bool_) for _ in range(2))
    right[:2, 30:100, 20:50] = True
    left[:2, 30:100, 80:110] = True
    return Lungs(left=left, right=right)


def box(x: float, y: float, k: int = 1) -> Box:
    return Box(slice_index=k, box_xyxy_px=(x - 4, y - 4, x + 4, y + 4), score=0.9)


def test_boxes_between_and_in_the_lungs_stay_and_others_go() -> None:
    large, small = volume(2 * SIZE, 1.0), volume(SIZE, 2.0)
    inside = [box(130, 130), box(60, 120), box(200, 120), box(130, 130, k=0)]
    outside = [box(20, 130), box(244, 130), box(130, 40), box(42, 130), box(130, 130, k=2)]
    assert inside_chest(inside + outside, large, lungs(), small) == inside


def test_a_box_at_the_very_edge_is_no_error() -> None:
    large, small = volume(2 * SIZE, 1.0), volume(SIZE, 2.0)
    edge = Box(slice_index=0, box_xyxy_px=(255.9, 255.9, 256.0, 256.0), score=0.9)
    assert inside_chest([edge], large, lungs(), small) == []


def test_a_hull_is_convex_and_narrower_by_the_margin() -> None:
    mask = lungs().left[0] | lungs().right[0]
    hull = hull_of_slice(mask, margin_mm=4.0, pixel_mm=2.0)
    rows, columns = np.flatnonzero(hull.any(axis=1)), np.flatnonzero(hull.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (32, 97, 22, 107)
    assert hull[60, 65]
    assert not hull_of_slice(np.zeros((8, 8), np.bool_), margin_mm=1.0, pixel_mm=1.0).any()
