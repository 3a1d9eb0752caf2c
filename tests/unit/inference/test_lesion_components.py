"""Lesions: what is kept, what is dropped, and that their measures are those of the masks."""

import numpy as np
import pytest

from inference.findings import Side
from inference.phantoms import chest_ct
from inference.pipelines.lesion_components import SMALLEST_LESION_ML, describe, find_components
from inference.pipelines.working_grid import bounding_box, cropped, enlarged, reduced
from inference.volume import Volume

SHAPE = (20, 40, 40)
"""Of 4 × 4 × 2 mm."""


def _volume(spacing_z_mm: float = 2.0) -> Volume:
    affine = np.diag([4.0, 4.0, spacing_z_mm, 1.0])
    affine[:3, 3] = -20, -20, 100
    array_zyx = np.full(SHAPE, -850, np.int16)
    array_zyx[5:9] = -400
    return Volume(array_zyx=array_zyx, index_to_patient=affine, frame_of_reference_uid="2.25.1")


def _box(z: slice, y: slice, x: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, np.bool_)
    mask[z, y, x] = True
    return mask


LEFT_HALF = _box(slice(None), slice(None), slice(20, 40))


def test_a_lesion_is_measured() -> None:
    volume, infected = _volume(), _box(slice(5, 9), slice(10, 20), slice(22, 30))

    (lesion,) = describe(find_components(infected, volume), infected=infected, left=LEFT_HALF, volume=volume)

    assert lesion.number == 1
    assert lesion.side is Side.LEFT
    assert lesion.volume_ml == pytest.approx(4 * 10 * 8 * 32 / 1000)
    assert lesion.extent_xyz_mm == pytest.approx((32, 40, 8))
    assert lesion.centroid_mm == pytest.approx((-20 + 4 * 25.5, -20 + 4 * 14.5, 100 + 2 * 6.5))
    assert lesion.slices == (5, 8)
    assert lesion.mean_hu == pytest.approx(-400)


def test_lesions_are_numbered_by_falling_volume_and_touch_at_corners() -> None:
    volume = _volume()
    small = _box(slice(1, 4), slice(0, 8), slice(0, 8))
    large = _box(slice(8, 12), slice(10, 18), slice(10, 18)) | _box(slice(12, 16), slice(18, 30), slice(18, 30))
    infected = small | large

    lesions = describe(find_components(infected, volume), infected=infected, left=LEFT_HALF, volume=volume)

    assert [(lesion.number, lesion.slices) for lesion in lesions] == [(1, (8, 15)), (2, (1, 3))]
    assert [lesion.side for lesion in lesions] == [Side.BILATERAL, Side.RIGHT]
    assert sum(lesion.volume_ml for lesion in lesions) == pytest.approx(infected.sum() * volume.voxel_ml)


def test_marks_on_air_are_no_lesion() -> None:
    volume, infected = _volume(), _box(slice(5, 9), slice(10, 20), slice(22, 30))
    assert find_components(infected, volume).count == 1
    volume.array_zyx[infected] = -900
    assert find_components(infected, volume).count == 0


@pytest.mark.parametrize(
    ("z", "side_px", "spacing_z_mm", "kept"),
    [
        (slice(5, 7), 8, 2.0, True),
        (slice(5, 7), 6, 2.0, False),  # 2.3 ml
        (slice(5, 6), 12, 2.0, False),  # one slice of many
        (slice(5, 6), 12, 5.0, True),  # one slice, but slices lie far apart
    ],
)
def test_small_components_and_specks_of_one_slice_are_dropped(
    z: slice, side_px: int, spacing_z_mm: float, kept: bool
) -> None:
    infected = _box(z, slice(0, side_px), slice(0, side_px))
    components = find_components(infected, _volume(spacing_z_mm))
    assert (components.count, components.mask.any()) == (int(kept), kept)


def test_nothing_infected_gives_no_lesion() -> None:
    infected = np.zeros(SHAPE, np.bool_)
    components = find_components(infected, _volume())
    assert components.count == 0
    assert describe(components, infected=infected, left=LEFT_HALF, volume=_volume()) == ()


def test_volumes_measured_on_the_source_grid_add_up_to_the_mask() -> None:
    phantom = chest_ct(seed=5, slices=30, size_px=384)
    small = reduced(phantom.volume)
    assert small.array_zyx.shape == (30, 256, 256)
    coarse = np.stack([mask[::3, ::3][:128, :128].repeat(2, axis=0).repeat(2, axis=1) for mask in phantom.infected])
    components = find_components(coarse, small)
    infected = enlarged(components.mask, phantom.volume.array_zyx.shape)

    lesions = describe(components, infected=infected, left=phantom.left_lung, volume=phantom.volume)

    assert len(lesions) == components.count > 1
    assert all(lesion.volume_ml > SMALLEST_LESION_ML / 2 for lesion in lesions)
    assert sum(lesion.volume_ml for lesion in lesions) == pytest.approx(infected.sum() * phantom.volume.voxel_ml)


@pytest.mark.parametrize("size_px", [512, 300, 256, 100])
def test_the_reduced_volume_lies_where_the_large_one_lies(size_px: int) -> None:
    rng = np.random.default_rng(1)
    affine = np.diag([0.7, 0.7, 2.0, 1.0])
    affine[:3, 3] = -100, -120, 30
    array_zyx = np.full((3, size_px, size_px), -1000, np.int16)
    row, column = rng.integers(size_px // 4, size_px // 2, 2)
    array_zyx[1, row : row + 10, column : column + 10] = 1000
    volume = Volume(array_zyx=array_zyx, index_to_patient=affine, frame_of_reference_uid="2.25.1")

    small = reduced(volume)

    assert max(small.array_zyx.shape[1:]) == min(size_px, 256)
    weights = small.array_zyx[1].astype(float) + 1000
    rows, columns = np.indices(weights.shape)
    centre = small.patient_mm(
        index_ijk=((columns * weights).sum() / weights.sum(), (rows * weights).sum() / weights.sum(), 1.0)
    )
    assert centre == pytest.approx(volume.patient_mm(index_ijk=(column + 4.5, row + 4.5, 1.0)), abs=0.02)


def test_a_mask_enlarged_keeps_its_volume_and_place() -> None:
    mask = _box(slice(3, 5), slice(10, 20), slice(5, 15))
    large = enlarged(mask, (20, 80, 80))
    assert np.count_nonzero(large) == pytest.approx(4 * np.count_nonzero(mask), rel=0.03)
    box = bounding_box(large)
    assert box == (slice(3, 5), slice(20, 40), slice(10, 30))


def test_a_crop_keeps_its_place_in_the_patient() -> None:
    volume = _volume()
    part = cropped(volume, (slice(2, 5), slice(10, 20), slice(7, 9)))
    assert part.patient_mm(index_ijk=(0, 0, 0)) == volume.patient_mm(index_ijk=(7, 10, 2))
