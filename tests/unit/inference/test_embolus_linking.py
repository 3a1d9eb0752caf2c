"""Boxes become emboli: linked over slices, measured, on their side, without noise."""

import numpy as np
import pytest

from inference.findings import Box, Side
from inference.pipelines.embolus_linking import Sides, link_boxes
from inference.volume import Volume


def volume(*, spacing_z_mm: float = 2.0) -> Volume:
    affine = np.diag([0.5, 0.5, spacing_z_mm, 1.0])
    affine[:3, 3] = (-50, -50, 0)
    return Volume(array_zyx=np.zeros((20, 200, 200), np.int16), index_to_patient=affine, frame_of_reference_uid="1.2")


def box(k: int, left: float = 40, top: float = 60, *, size: float = 20, score: float = 0.8) -> Box:
    return Box(slice_index=k, box_xyxy_px=(left, top, left + size, top + size), score=score)


def test_overlapping_boxes_of_neighbouring_slices_are_one_embolus() -> None:
    (embolus,) = link_boxes([box(4, 44), box(3, 40, score=0.9), box(5, 48, score=0.7)], volume(), side_of_x_mm=None)
    assert [one.slice_index for one in embolus.boxes] == [3, 4, 5]
    assert embolus.probability == pytest.approx(0.8)
    assert embolus.extent_xyz_mm == pytest.approx((14.0, 10.0, 6.0))
    assert (embolus.number, embolus.side) == (1, None)


def test_one_missing_slice_does_not_part_an_embolus_but_two_do() -> None:
    assert len(link_boxes([box(3), box(5)], volume(), side_of_x_mm=None)) == 1
    thick = volume(spacing_z_mm=5.0)
    assert len(link_boxes([box(3), box(5)], thick, side_of_x_mm=None)) == 1
    assert len(link_boxes([box(3), box(6)], thick, side_of_x_mm=None)) == 2


def test_boxes_beside_each_other_are_two_emboli_sorted_by_probability() -> None:
    found = link_boxes(
        [box(3, 20, score=0.7), box(3, 120), box(4, 20, score=0.7), box(4, 120)],
        volume(spacing_z_mm=2.5),
        side_of_x_mm=None,
    )
    assert [(one.number, one.boxes[0].box_xyxy_px[0]) for one in found] == [(1, 120), (2, 20)]
    assert all(len({one.slice_index for one in embolus.boxes}) == len(embolus.boxes) for embolus in found)


def test_of_two_boxes_on_one_slice_the_closer_one_goes_on() -> None:
    found = link_boxes([box(3, 40), box(4, 41), box(4, 50)], volume(spacing_z_mm=5.0), side_of_x_mm=None)
    assert [[one.box_xyxy_px[0] for one in embolus.boxes] for embolus in found] == [[40, 41], [50]]


def test_noise_is_dropped() -> None:
    assert link_boxes([box(3, score=0.29), box(4, score=0.29)], volume(), side_of_x_mm=None) == ()
    thick = volume(spacing_z_mm=2.5)
    assert link_boxes([box(3, score=0.6), box(4, score=0.69)], thick, side_of_x_mm=None) == ()
    assert len(link_boxes([box(3, score=0.4), box(4, score=0.7)], thick, side_of_x_mm=None)) == 1
    assert link_boxes([box(k) for k in range(3, 7)], volume(spacing_z_mm=1.0), side_of_x_mm=None) == ()
    assert link_boxes([box(3)], thick, side_of_x_mm=None) == ()


def test_the_side_follows_the_patient_not_the_picture() -> None:
    grid = volume(spacing_z_mm=5.0)
    right, left = np.zeros((2, *grid.array_zyx.shape), np.bool_)
    right[:, :, 10:80] = left[:, :, 120:190] = True
    sides = Sides.between(left, right, grid)
    assert sides is not None
    assert sides.middle_x_mm == pytest.approx(-0.25)
    found = link_boxes([box(3, 20), box(3, 150)], grid, side_of_x_mm=sides)
    assert {one.boxes[0].box_xyxy_px[0]: one.side for one in found} == {20: Side.RIGHT, 150: Side.LEFT}
    for outlier, main, side in ((150, 20, Side.RIGHT), (20, 150, Side.LEFT)):
        boxes = [box(k, main) for k in range(3, 7)] + [box(3, outlier)]
        assert sides.of(boxes, grid) is side, "four of five"
    (saddle,) = link_boxes([box(3, 75, size=40), box(4, 90, size=40)], grid, side_of_x_mm=sides)
    assert saddle.side is Side.BILATERAL
    assert Sides.between(left, np.zeros_like(right), grid) is None
