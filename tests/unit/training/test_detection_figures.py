"""Average precision and its hits, on cases counted by hand."""

import numpy as np
import pytest

from inference.training.evaluation.detection import PictureBoxes, average_precision, hit_boxes, iou

NONE = np.zeros((0, 4))


def picture(found: list[list[float]], true: list[list[float]]) -> PictureBoxes:
    return PictureBoxes(found=np.array(found, float).reshape(-1, 5), true=np.array(true, float).reshape(-1, 4))


def test_iou_of_half_overlapping_squares_is_a_third() -> None:
    assert iou(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]]))[0] == pytest.approx([1 / 3, 0])


def test_a_true_box_is_taken_once_by_the_best() -> None:
    one = picture([[0, 0, 10, 10, 0.6], [0, 0, 10, 11, 0.9], [40, 40, 50, 50, 0.8]], [[0, 0, 10, 10]])
    assert hit_boxes(one, overlap=0.5).tolist() == [False, True, False]


def test_average_precision_by_hand() -> None:
    """Hit, miss, hit of three true boxes: precision 1 up to a recall of 1/3, then 2/3 up to 2/3."""
    pictures = [
        picture([[0, 0, 10, 10, 0.9], [90, 90, 95, 95, 0.8]], [[0, 0, 10, 10], [30, 30, 40, 40]]),
        picture([[0, 0, 10, 9, 0.7]], [[0, 0, 10, 10]]),
    ]
    assert average_precision(pictures, overlap=0.5) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(pictures, overlap=0.95) == pytest.approx(1 / 3)


def test_false_boxes_on_empty_pictures_count_and_no_truth_has_no_figure() -> None:
    with_false = [picture([[0, 0, 9, 9, 0.99]], []), picture([[0, 0, 10, 10, 0.5]], [[0, 0, 10, 10]])]
    assert average_precision(with_false, overlap=0.5) == pytest.approx(0.5)
    assert average_precision([picture([[0, 0, 9, 9, 0.99]], [])], overlap=0.5) is None
    assert average_precision([picture([], [[0, 0, 1, 1]])], overlap=0.5) == 0
