"""The gate: angiograms pass, everything else is refused with a reason that a PACS administrator understands."""

from dataclasses import replace

import numpy as np
import pytest

from inference.phantoms import Phantom, chest_ct
from inference.phantoms.ctpa import ctpa
from inference.pipelines.angiogram_gate import (
    NotAnAngiogram,
    contrast_of,
    refuse_wide_slices,
    refuse_without_contrast,
)
from inference.pipelines.lung_regions import Lungs
from inference.volume import Volume


@pytest.fixture(scope="module")
def angiogram() -> Phantom:
    return ctpa(seed=2, slices=50, size_px=160)


@pytest.fixture(scope="module")
def plain() -> Phantom:
    return chest_ct(seed=2, slices=30, size_px=160)


def lungs(phantom: Phantom) -> Lungs:
    return Lungs(left=phantom.left_lung, right=phantom.right_lung)


def flipped(phantom: Phantom) -> tuple[Volume, Lungs]:
    """Both axes of the picture and the slices run the other way; the patient is the same."""
    turned = np.s_[::-1, ::-1, ::-1]
    z, y, x = (size - 1 for size in phantom.volume.array_zyx.shape)
    affine = phantom.volume.index_to_patient.copy()
    affine[:3, 3] = phantom.volume.patient_mm(index_ijk=(x, y, z))
    affine[:3, :3] *= -1
    volume = replace(
        phantom.volume, array_zyx=np.ascontiguousarray(phantom.volume.array_zyx[turned]), index_to_patient=affine
    )
    return volume, Lungs(left=phantom.left_lung[turned], right=phantom.right_lung[turned])


def test_an_angiogram_passes_and_its_contrast_is_measured(angiogram: Phantom) -> None:
    refuse_without_contrast(angiogram.volume)
    assert 250 < contrast_of(angiogram.volume, lungs(angiogram)).trunk_hu < 500


def test_the_way_the_grid_runs_changes_nothing(angiogram: Phantom) -> None:
    volume, both = flipped(angiogram)
    refuse_without_contrast(volume)
    expected = contrast_of(angiogram.volume, lungs(angiogram)).trunk_hu
    assert contrast_of(volume, both).trunk_hu == pytest.approx(expected, rel=0.05)


def test_a_plain_chest_ct_is_refused_twice(plain: Phantom) -> None:
    with pytest.raises(NotAnAngiogram, match="no contrast agent in the heart"):
        refuse_without_contrast(plain.volume)
    with pytest.raises(NotAnAngiogram, match=r"not a CT pulmonary angiogram: \d\d HU where the pulmonary trunk lies"):
        contrast_of(plain.volume, lungs(plain))


def test_contrast_in_the_aorta_alone_is_refused(angiogram: Phantom) -> None:
    """The blood of the trunk's surroundings is as in a plain CT; the right half of the patient keeps its contrast."""
    array = angiogram.volume.array_zyx.copy()
    middle = array.shape[2] // 2 - 6
    left = array[:, :, middle:]
    left[(left > 120) & (left < 700)] = 45
    with pytest.raises(NotAnAngiogram, match="HU where the pulmonary trunk lies"):
        contrast_of(replace(angiogram.volume, array_zyx=array), lungs(angiogram))


def test_slices_too_far_apart_are_refused_with_their_distance(plain: Phantom, angiogram: Phantom) -> None:
    wide = replace(angiogram.volume, index_to_patient=angiogram.volume.index_to_patient @ np.diag([1, 1, 0.5, 1]))
    refuse_wide_slices(wide)  # 3 mm: still good
    with pytest.raises(NotAnAngiogram, match=r"slices lie 10\.0 mm apart"):
        refuse_wide_slices(plain.volume)


def test_without_a_second_lung_nobody_knows_where_the_trunk_is(angiogram: Phantom) -> None:
    one = Lungs(left=np.zeros_like(angiogram.left_lung), right=angiogram.right_lung)
    with pytest.raises(NotAnAngiogram, match="only one lung"):
        contrast_of(angiogram.volume, one)
