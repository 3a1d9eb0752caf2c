"""Whatever boxes a detector gives, linking keeps its word: nothing twice, nothing lost, nothing out of order."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.findings import Box, Embolus
from inference.pipelines.embolus_linking import (
    BEST_BOXES,
    LARGEST_GAP,
    LINKING_IOU,
    SHORTEST_MM,
    SMALLEST_PEAK,
    SMALLEST_SCORE,
    Sides,
    link_boxes,
)
from inference.training.evaluation.detection import iou
from inference.volume import Volume

SLICES, SIZE_PX = 12, 96


def volume(spacing_z_mm: float = 2.0) -> Volume:
    affine = np.diag([0.5, 0.75, spacing_z_mm, 1.0])
    array = np.zeros((SLICES, SIZE_PX, SIZE_PX), np.int16)
    return Volume(array_zyx=array, index_to_patient=affine, frame_of_reference_uid="1.2")


@st.composite
def a_box(draw: st.DrawFn) -> Box:
    """Anywhere in the volume, its first and last slice and the picture's edges not least."""
    edge = st.one_of(st.sampled_from([0.0, 32.0, 64.0, float(SIZE_PX)]), st.floats(0, SIZE_PX, width=16))
    left, right = sorted(draw(st.tuples(edge, edge).filter(lambda pair: abs(pair[0] - pair[1]) >= 1)))
    top, bottom = sorted(draw(st.tuples(edge, edge).filter(lambda pair: abs(pair[0] - pair[1]) >= 1)))
    index = draw(st.one_of(st.sampled_from([0, SLICES - 1]), st.integers(0, SLICES - 1)))
    return Box(slice_index=index, box_xyxy_px=(left, top, right, bottom), score=draw(st.floats(0, 1)))


some_boxes = st.lists(a_box(), max_size=24, unique_by=lambda box: (box.slice_index, box.box_xyxy_px))


def overlap(first: Box, second: Box) -> float:
    return float(iou(np.array([first.box_xyxy_px]), np.array([second.box_xyxy_px]))[0, 0])


def check(embolus: Embolus, grid: Volume) -> None:
    slices = [box.slice_index for box in embolus.boxes]
    assert slices == sorted(set(slices)), "one box a slice, in their order"
    for one, other in itertools.pairwise(embolus.boxes):
        assert other.slice_index - one.slice_index <= LARGEST_GAP
        assert overlap(one, other) >= LINKING_IOU - 1e-9
    scores = sorted((box.score for box in embolus.boxes), reverse=True)
    assert scores[0] >= SMALLEST_PEAK
    assert scores[-1] >= SMALLEST_SCORE
    assert embolus.probability == pytest.approx(np.mean(scores[:BEST_BOXES]))
    corners = np.array([box.box_xyxy_px for box in embolus.boxes])
    width, height = corners[:, 2].max() - corners[:, 0].min(), corners[:, 3].max() - corners[:, 1].min()
    length = (slices[-1] - slices[0] + 1) * grid.spacing_xyz_mm[2]
    assert embolus.extent_xyz_mm == pytest.approx((width * 0.5, height * 0.75, length))
    assert length >= SHORTEST_MM


@settings(deadline=None, max_examples=200)
@given(boxes=some_boxes, spacing_z_mm=st.sampled_from([0.625, 1.0, 3.0]))
def test_emboli_are_what_they_say(boxes: Sequence[Box], spacing_z_mm: float) -> None:
    grid = volume(spacing_z_mm)
    emboli = link_boxes(boxes, grid, side_of_x_mm=None)
    for embolus in emboli:
        check(embolus, grid)
        assert embolus.side is None
    assert [embolus.number for embolus in emboli] == list(range(1, len(emboli) + 1))
    probabilities = [embolus.probability for embolus in emboli]
    assert probabilities == sorted(probabilities, reverse=True)
    used = [box for embolus in emboli for box in embolus.boxes]
    assert len({(box.slice_index, box.box_xyxy_px) for box in used}) == len(used), "no box in two emboli"
    assert all(box in boxes for box in used)
    if spacing_z_mm >= SHORTEST_MM:
        assert all(box in used for box in boxes if box.score >= SMALLEST_PEAK), "no sure box is lost"


ties = st.lists(
    st.builds(
        lambda index, left, top, wide, score: Box(
            slice_index=index, box_xyxy_px=(left, top, left + wide, top + wide), score=score
        ),
        st.integers(0, 3),
        st.sampled_from([0.0, 8.0, 16.0]),
        st.sampled_from([0.0, 8.0]),
        st.sampled_from([16.0, 32.0]),
        st.sampled_from([0.4, 0.6]),
    ),
    max_size=10,
    unique_by=lambda box: (box.slice_index, box.box_xyxy_px),
)


@settings(deadline=None, max_examples=300)
@given(boxes=ties, order=st.randoms(use_true_random=False))
def test_the_order_of_the_boxes_changes_nothing_even_where_scores_and_overlaps_are_equal(
    boxes: list[Box], order: random.Random
) -> None:
    mixed = list(boxes)
    order.shuffle(mixed)
    assert link_boxes(mixed, volume(), side_of_x_mm=None) == link_boxes(boxes, volume(), side_of_x_mm=None)


@settings(deadline=None)
@given(boxes=some_boxes)
def test_upside_down_there_are_as_many_boxes_in_emboli(boxes: list[Box]) -> None:
    """The slices' direction is the scanner's affair: a pair of neighbours is linked either way."""
    pairs = [box for box in boxes if box.slice_index < 2]
    turned = [replace(box, slice_index=SLICES - 1 - box.slice_index) for box in pairs]
    lengths = [
        sorted(len(embolus.boxes) for embolus in link_boxes(some, volume(3.0), side_of_x_mm=None))
        for some in (pairs, turned)
    ]
    assert lengths[0] == lengths[1]


@pytest.mark.parametrize("first", [0, SLICES - 3])
def test_an_embolus_at_the_end_of_the_scan_and_at_the_edge_of_the_picture(first: int) -> None:
    corner = (0.0, 0.0, 20.0, 12.0) if first == 0 else (SIZE_PX - 20.0, SIZE_PX - 12.0, SIZE_PX * 1.0, SIZE_PX * 1.0)
    boxes = [Box(slice_index=first + k, box_xyxy_px=corner, score=0.9) for k in range(3)]
    (embolus,) = link_boxes(boxes, volume(), side_of_x_mm=None)
    assert embolus.slices == (first, first + 2)
    assert embolus.extent_xyz_mm == pytest.approx((10.0, 9.0, 6.0))


def test_two_emboli_on_the_same_slices_stay_two_over_a_gap_of_one() -> None:
    boxes = [
        Box(slice_index=k, box_xyxy_px=(left, 40, left + 20, 60), score=score)
        for left, score in ((10, 0.9), (60, 0.7))
        for k in (4, 6, 7)
    ]
    first, second = link_boxes(boxes, volume(), side_of_x_mm=None)
    assert [box.slice_index for box in first.boxes] == [box.slice_index for box in second.boxes] == [4, 6, 7]
    assert {box.box_xyxy_px[0] for box in first.boxes} == {10}
    assert {box.box_xyxy_px[0] for box in second.boxes} == {60}


def test_no_side_is_said_without_both_lungs() -> None:
    grid = volume()
    lung, nothing = np.zeros((2, *grid.array_zyx.shape), np.bool_)
    lung[:, :, :30] = True
    for left, right in ((lung, nothing), (nothing, lung), (nothing, nothing)):
        assert Sides.between(left, right, grid) is None
