"""From marked voxels to two lungs: sides by the patient, refusal of what is no chest."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from inference.phantoms import Phantom, chest_ct
from inference.pipelines.lung_regions import NoLungs, find_lungs
from inference.volume import Volume


@pytest.fixture(scope="module")
def chest() -> Phantom:
    return chest_ct(seed=8, slices=40, size_px=160)


def _same(found: np.ndarray, truth: np.ndarray) -> bool:
    """But for slivers of less than 15 ml, which a phantom has in its recesses."""
    return np.count_nonzero(found ^ truth) < 0.005 * np.count_nonzero(truth)


def _lungs(chest: Phantom) -> np.ndarray:
    return chest.left_lung | chest.right_lung


def _turned(chest: Phantom, flips: tuple[int, ...]) -> Phantom:
    """The same patient stored with reversed axes (0 slices, 1 rows, 2 columns)."""
    affine = chest.volume.index_to_patient.copy()
    for axis in flips:
        column = 2 - axis
        affine[:3, 3] += affine[:3, column] * (chest.volume.array_zyx.shape[axis] - 1)
        affine[:3, column] *= -1
    arrays = {name: np.flip(getattr(chest, name), flips).copy() for name in ("left_lung", "right_lung", "infected")}
    array_zyx = np.flip(chest.volume.array_zyx, flips).copy()
    return replace(chest, volume=replace(chest.volume, array_zyx=array_zyx, index_to_patient=affine), **arrays)


@pytest.mark.parametrize("flips", [(), (0,), (2,), (0, 1, 2), (1, 2)], ids=str)
def test_left_is_the_patients_left_however_the_slices_are_stored(chest: Phantom, flips: tuple[int, ...]) -> None:
    turned = _turned(chest, flips)
    found = find_lungs(_lungs(turned), turned.volume)
    assert _same(found.left, turned.left_lung)
    assert _same(found.right, turned.right_lung)


@pytest.mark.parametrize("bridge_px", [5, 11])
def test_lungs_that_touch_are_divided_where_they_touch(chest: Phantom, bridge_px: int) -> None:
    marked = _lungs(chest)
    for k in range(14, 30):  # joined in front of the heart, as in deeply inflated lungs
        columns = np.flatnonzero(marked[k].any(axis=0))
        rows = np.flatnonzero(marked[k, :, columns[len(columns) // 3]])
        marked[k, rows[0] + 4 : rows[0] + 4 + bridge_px, columns[0] + 20 : columns[-1] - 20] = True

    found = find_lungs(marked, chest.volume)

    for side, truth in ((found.left, chest.left_lung), (found.right, chest.right_lung)):
        assert np.count_nonzero(side & truth) / np.count_nonzero(truth) > 0.98
    assert _same(found.left | found.right, marked)


def test_lungs_that_touch_beside_a_lobe_that_is_cut_off_keep_their_sides() -> None:
    slices, size = 60, 128
    k, j, i = np.mgrid[:slices, :size, :size]
    lungs = [((k - 30) / 28) ** 2 + ((j - 64) / 34) ** 2 + ((i - x) / 24) ** 2 < 1 for x in (36, 92)]
    right, left = lungs
    marked = right | left
    marked[:, 54:60, 50:78] |= (k[:, 54:60, 50:78] > 22) & (k[:, 54:60, 50:78] < 40)  # they touch in front
    left &= ~((k >= 22) & (k < 25))
    marked[22:25, :, 64:] = False  # the left lower part is cut off
    array = np.where(marked, -800, 40).astype(np.int16)
    affine = np.diag([3.0, 3.0, 5.0, 1.0])
    volume = Volume(array_zyx=array, index_to_patient=affine, frame_of_reference_uid="2.25.1")

    found = find_lungs(marked, volume)

    for side, truth in ((found.left, left & marked), (found.right, right & marked)):
        assert np.count_nonzero(side & truth) / np.count_nonzero(truth) > 0.95


def test_loose_pieces_of_a_lung_go_to_their_side(chest: Phantom) -> None:
    marked = _lungs(chest)
    middle = int(np.flatnonzero(marked.any(axis=(1, 2))).mean())
    marked[middle] = False  # a slice that the model missed
    found = find_lungs(marked, chest.volume)
    assert _same(found.left, chest.left_lung & marked)
    assert _same(found.right, chest.right_lung & marked)


@pytest.mark.parametrize("side", ["left_lung", "right_lung"])
def test_a_single_lung_is_found_on_its_side(chest: Phantom, side: str) -> None:
    found = find_lungs(getattr(chest, side), chest.volume)
    there, missing = (found.left, found.right) if side == "left_lung" else (found.right, found.left)
    assert _same(there, getattr(chest, side))
    assert not missing.any()


def test_what_is_no_lung_is_left_out(chest: Phantom) -> None:
    marked = _lungs(chest)
    liver_z, liver_y, liver_x = 4, 70, 50
    marked[liver_z : liver_z + 4, liver_y : liver_y + 20, liver_x : liver_x + 10] = True  # soft tissue
    marked[0:3, 0:4, 0:4] = True  # a speck outside the patient
    found = find_lungs(marked, chest.volume)
    wrong = (found.left | found.right) & ~_lungs(chest)
    assert np.count_nonzero(wrong) * chest.volume.voxel_ml < 5


def test_air_beside_the_body_and_fat_are_no_lung(chest: Phantom) -> None:
    array_zyx = chest.volume.array_zyx.copy()
    beside = np.zeros(array_zyx.shape, np.bool_)
    beside[5:35, 2:30, 2:30] = True  # below a raised arm
    array_zyx[beside] = np.random.default_rng(1).normal(-980, 40, np.count_nonzero(beside))
    marked = _lungs(chest)
    top = int(np.flatnonzero(marked.any(axis=(1, 2)))[-1])
    armpit = np.zeros_like(marked)
    armpit[top - 1 : top + 1, 70:85, 10:25] = True
    armpit &= ~marked
    array_zyx[armpit] = -90
    found = find_lungs(marked | armpit | beside, replace(chest.volume, array_zyx=array_zyx))
    lungs = found.left | found.right
    assert not (lungs & beside).any()
    assert not (lungs & armpit).any()


def test_a_consolidated_slice_of_lung_is_kept(chest: Phantom) -> None:
    marked = _lungs(chest)
    array_zyx = chest.volume.array_zyx.copy()
    ill = chest.left_lung.copy()
    ill[:12], ill[20:] = False, False
    array_zyx[ill] = 35
    found = find_lungs(marked, replace(chest.volume, array_zyx=array_zyx))
    assert np.count_nonzero((found.left | found.right) & ill) > 0.99 * np.count_nonzero(ill)


def test_nothing_marked_is_no_chest(chest: Phantom) -> None:
    with pytest.raises(NoLungs, match="does not look like a chest CT"):
        find_lungs(np.zeros(chest.left_lung.shape, np.bool_), chest.volume)


def test_lung_bases_on_an_abdominal_scan_are_refused(chest: Phantom) -> None:
    top = int(np.flatnonzero(_lungs(chest).any(axis=(1, 2)))[0]) + 9  # 7 cm above the deepest recess
    volume = replace(chest.volume, array_zyx=chest.volume.array_zyx[:top])
    with pytest.raises(NoLungs, match="ml of lung over"):
        find_lungs(_lungs(chest)[:top], volume)


def test_marks_in_noise_and_in_soft_tissue_are_refused() -> None:
    rng = np.random.default_rng(3)
    shape = (40, 64, 64)
    volume = Volume(
        array_zyx=rng.integers(-200, 300, shape).astype(np.int16),
        index_to_patient=np.diag([5.0, 5.0, 5.0, 1.0]),
        frame_of_reference_uid="2.25.1",
    )
    blobs = np.stack([cv2.GaussianBlur(rng.normal(size=shape[1:]), (0, 0), 3) for _ in range(shape[0])])
    for marked in (blobs > 0.02, np.ones(shape, np.bool_)):
        with pytest.raises(NoLungs):
            find_lungs(marked, volume)
