"""The angiogram phantom is what it says: contrast where it belongs, clots in arteries, in the sizes of real ones."""

import numpy as np
import pytest
from scipy import ndimage

from inference.phantoms import Phantom
from inference.phantoms.angiogram import ARTERIES_HU
from inference.phantoms.clot_boxes import clot_boxes
from inference.phantoms.ctpa import AngiogramPatient, ctpa
from inference.phantoms.emboli import CLOT_HU, Form

SEED = 3


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return ctpa(seed=SEED, slices=60, size_px=256)


def test_same_seed_same_voxels_and_another_seed_another_patient() -> None:
    first, again, other = (ctpa(seed=seed, slices=3, size_px=96) for seed in (1, 1, 2))
    assert np.array_equal(first.volume.array_zyx, again.volume.array_zyx)
    assert not np.array_equal(first.volume.array_zyx, other.volume.array_zyx)


def test_clots_are_dark_in_bright_arteries(phantom: Phantom) -> None:
    assert phantom.clots is not None
    hu = phantom.volume.array_zyx
    assert phantom.clots.any()
    inside = ndimage.binary_erosion(phantom.clots, np.ones((1, 3, 3)))
    assert CLOT_HU[0] - 15 < np.median(hu[inside]) < CLOT_HU[1] + 15
    patient = AngiogramPatient.draw(seed=SEED, size_px=256, thickness_mm=3.0)
    start, end = patient.painter.vessels.arteries.ends_mm[0]
    i, j, k = np.linalg.solve(phantom.volume.index_to_patient, [*(start + end) / 2, 1.0])[:3]
    trunk = hu[round(k), round(j) - 4 : round(j) + 5, round(i) - 4 : round(i) + 5]
    assert ARTERIES_HU[0] - 50 < np.median(trunk) < ARTERIES_HU[1] + 50


def test_a_normal_patient_has_no_clot_and_the_same_anatomy() -> None:
    """So that what a model tells apart can only be the clots."""
    ill, normal = (ctpa(seed=SEED, slices=30, size_px=128, normal=normal) for normal in (False, True))
    assert normal.clots is not None
    assert not normal.clots.any()
    assert np.array_equal(ill.left_lung, normal.left_lung)
    far = ~ndimage.binary_dilation(ill.clots, iterations=6)
    assert np.mean(np.abs(ill.volume.array_zyx[far] - normal.volume.array_zyx[far]) > 60) < 0.01


def test_numbers_sizes_and_forms_are_like_those_of_fumpe() -> None:
    """FUMPE: 1 to 7 clots a patient; quartiles of a clot's volume 0.3, 1.1 and 4.9 ml (35 masks, measured)."""
    patients = [AngiogramPatient.draw(seed=seed, size_px=64, thickness_mm=2.0) for seed in range(40)]
    clots = [clot for patient in patients for clot in patient.painter.clots]
    assert {len(patient.painter.clots) for patient in patients} <= set(range(1, 8))
    assert {clot.form for clot in clots} == set(Form)
    bodies = [
        sum(np.linalg.norm(end - start) * np.pi * radius**2 / 1000 for (start, end), radius in zip(
            clot.body.ends_mm, clot.body.radii_mm, strict=True))
        for clot in clots
    ]  # fmt: skip
    low, middle, high = np.percentile(bodies, (25, 50, 75))
    assert 0.15 < low < 0.8
    assert 0.6 < middle < 2.2
    assert 2.5 < high < 8.0


def test_boxes_hold_whole_parts_and_leave_specks_out() -> None:
    clots = np.zeros((40, 50), np.bool_)
    clots[10:14, 20:29] = True
    clots[14, 29] = True  # touches by its corner
    clots[30, 30] = True
    assert clot_boxes(clots, pixel_mm=1.0).tolist() == [[20.0, 10.0, 30.0, 15.0]]
    assert len(clot_boxes(clots, pixel_mm=3.0)) == 2
