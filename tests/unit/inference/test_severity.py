"""Shares and the six-zone score, by table and by hand-made lungs."""

import numpy as np
import pytest

from inference.severity import LungMasks, involvement, six_zone_score, zone_score
from inference.volume import Volume

SHAPE = (30, 8, 10)
"""Slices, rows, columns of the hand-made chest: right lung in columns 0-3, left lung in columns 6-9."""


def _volume(*, direction_z: float = 1.0, tilt: float = 0.0) -> Volume:
    affine = np.diag([2.0, 2.0, 5.0 * direction_z, 1.0])
    affine[2, 1] = tilt
    return Volume(array_zyx=np.zeros(SHAPE, np.int16), index_to_patient=affine, frame_of_reference_uid="2.25.1")


def _masks(*, infected: tuple[tuple[slice, slice, slice], ...] = (), lungs: str = "both") -> LungMasks:
    left, right, ill = (np.zeros(SHAPE, np.bool_) for _ in range(3))
    if lungs in ("both", "right"):
        right[:, :, 0:4] = True
    if lungs in ("both", "left"):
        left[:, :, 6:10] = True
    for box in infected:
        ill[box] = True
    return LungMasks(left=left, right=right, infected=ill)


@pytest.mark.parametrize(
    ("percent", "score"),
    [(0, 0), (0.001, 1), (25, 1), (25.01, 2), (50, 2), (50.01, 3), (75, 3), (75.01, 4), (100, 4)],
)
def test_a_zone_scores_the_steps_it_exceeds(percent: float, score: int) -> None:
    assert zone_score(percent) == score


EVERYWHERE = slice(None)


@pytest.mark.parametrize(
    ("direction_z", "lower_slices"),
    [(1.0, slice(0, 10)), (-1.0, slice(20, 30))],
    ids=["slices go up", "slices go down"],
)
def test_lower_means_towards_the_feet_whatever_the_order_of_slices(direction_z: float, lower_slices: slice) -> None:
    masks = _masks(infected=((lower_slices, slice(0, 4), slice(6, 10)),))  # half of the left lung's lower zone

    severity = six_zone_score(masks, _volume(direction_z=direction_z))

    assert severity is not None
    assert {zone.name: (zone.percent, zone.score) for zone in severity.zones} == {
        "right upper": (0, 0),
        "right middle": (0, 0),
        "right lower": (0, 0),
        "left upper": (0, 0),
        "left middle": (0, 0),
        "left lower": (50, 2),
    }
    assert (severity.score, severity.maximum) == (2, 24)
    assert "Ooi" in severity.citation


@pytest.mark.parametrize(
    ("infected", "score", "total", "left", "right"),
    [
        ((), 0, 0.0, 0.0, 0.0),
        (((EVERYWHERE, EVERYWHERE, EVERYWHERE),), 24, 100.0, 100.0, 100.0),
        (((EVERYWHERE, EVERYWHERE, slice(0, 4)),), 12, 50.0, 0.0, 100.0),
        (((EVERYWHERE, slice(0, 2), EVERYWHERE),), 6, 25.0, 25.0, 25.0),
        (((slice(0, 1), slice(0, 1), slice(6, 7)),), 1, 100 / 1920, 100 / 960, 0.0),
        (((EVERYWHERE, EVERYWHERE, slice(4, 6)),), 0, 0.0, 0.0, 0.0),
    ],
    ids=["healthy", "all", "right lung", "a quarter of each", "one voxel", "outside the lungs"],
)
def test_shares_and_score(
    infected: tuple[tuple[slice, slice, slice], ...], score: int, total: float, left: float, right: float
) -> None:
    masks, volume = _masks(infected=infected), _volume()

    severity, shares = six_zone_score(masks, volume), involvement(masks, volume)

    assert severity is not None
    assert severity.score == score
    assert (shares.total_percent, shares.left_percent, shares.right_percent) == pytest.approx((total, left, right))
    assert shares.infected_ml == pytest.approx(total / 100 * 1920 * 0.02)


@pytest.mark.parametrize(("lungs", "found"), [("left", 100.0), ("right", 100.0)])
def test_a_missing_lung_has_no_share_and_forbids_the_score(lungs: str, found: float) -> None:
    masks = _masks(infected=((EVERYWHERE, EVERYWHERE, EVERYWHERE),), lungs=lungs)

    shares = involvement(masks, _volume())

    shown, missing = (
        (shares.left_percent, shares.right_percent) if lungs == "left" else (shares.right_percent, shares.left_percent)
    )
    assert shown == found
    assert missing is None
    assert shares.total_percent == 100.0
    assert six_zone_score(masks, _volume()) is None


def test_no_lungs_at_all() -> None:
    masks = _masks(lungs="none")
    shares = involvement(masks, _volume())
    assert (shares.total_percent, shares.left_percent, shares.right_percent) == (0.0, None, None)
    assert six_zone_score(masks, _volume()) is None


def test_lungs_of_two_slices_have_no_three_zones() -> None:
    masks = _masks()
    masks.left[2:], masks.right[2:] = False, False
    assert six_zone_score(masks, _volume()) is None


def test_tilted_slices_are_scored_by_the_height_of_each_voxel() -> None:
    volume = _volume(tilt=1.0)  # rows rise by 1 mm each: 7 mm over the slice
    level = six_zone_score(_masks(infected=((slice(0, 10), EVERYWHERE, slice(0, 4)),)), volume)

    assert level is not None
    zones = {zone.name: zone.percent for zone in level.zones}
    assert zones["right lower"] > 90
    assert 0 < zones["right middle"] < 10
    assert zones["left lower"] == 0
