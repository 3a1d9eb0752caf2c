"""The phantom is what it says: the same for a seed, lungs of plausible size and place, lesions inside them."""

import numpy as np
import pytest

from inference.phantoms import Phantom, chest_ct
from inference.volume import HU_AIR


@pytest.fixture(scope="module")
def diseased() -> Phantom:
    return chest_ct(seed=4, slices=30, size_px=256)


def test_same_seed_same_voxels_and_another_seed_another_patient() -> None:
    first, again, other = (chest_ct(seed=seed, slices=4, size_px=128) for seed in (1, 1, 2))

    assert np.array_equal(first.volume.array_zyx, again.volume.array_zyx)
    assert np.array_equal(first.infected, again.infected)
    assert not np.array_equal(first.volume.array_zyx, other.volume.array_zyx)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_lungs_have_the_volume_and_the_density_of_lungs(seed: int) -> None:
    phantom = chest_ct(seed=seed, slices=30, size_px=128, normal=True)
    for lung in (phantom.left_lung, phantom.right_lung):
        assert 1000 < lung.sum() * phantom.volume.voxel_ml < 3500
        assert -900 < np.median(phantom.volume.array_zyx[lung]) < -780


def test_the_left_lung_lies_at_the_patients_left_and_lungs_do_not_overlap(diseased: Phantom) -> None:
    assert not (diseased.left_lung & diseased.right_lung).any()
    left_column = np.nonzero(diseased.left_lung)[2].mean()
    right_column = np.nonzero(diseased.right_lung)[2].mean()
    x_left, x_right = (
        diseased.volume.patient_mm(index_ijk=(column, 0.0, 0.0))[0] for column in (left_column, right_column)
    )
    assert x_left > 30 > -30 > x_right


def test_lesions_lie_in_the_lungs_and_are_denser_than_lung(diseased: Phantom) -> None:
    lungs = diseased.left_lung | diseased.right_lung
    assert not (diseased.infected & ~lungs).any()
    assert 0.02 < diseased.infected.sum() / lungs.sum() < 0.6
    healthy, ill = (
        np.median(diseased.volume.array_zyx[mask]) for mask in (lungs & ~diseased.infected, diseased.infected)
    )
    assert ill > healthy + 150


def test_normal_has_no_lesion_and_the_same_body() -> None:
    normal = chest_ct(seed=4, slices=6, size_px=128, normal=True)
    assert not normal.infected.any()


def test_slices_run_from_the_abdomen_up_and_cover_the_chest(diseased: Phantom) -> None:
    volume = diseased.volume
    assert volume.spacing_xyz_mm[2] * 30 == pytest.approx(300)
    assert volume.patient_mm(index_ijk=(0, 0, 29))[2] > volume.patient_mm(index_ijk=(0, 0, 0))[2]
    lungs = (diseased.left_lung | diseased.right_lung).any(axis=(1, 2))
    assert not lungs[0]
    assert not lungs[-1]


def test_padding_lies_outside_the_circle_of_reconstruction(diseased: Phantom) -> None:
    assert (diseased.volume.array_zyx[:, 0, 0] == HU_AIR).all()


@pytest.mark.parametrize(("slices", "size_px"), [(0, 512), (10, 32)])
def test_a_phantom_too_small_is_refused(slices: int, size_px: int) -> None:
    with pytest.raises(ValueError, match="at least 1 slice"):
        chest_ct(seed=1, slices=slices, size_px=size_px)
