"""The gate: angiograms pass, everything else is refused with a reason that a PACS administrator understands."""

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_node.spool.folder import studies_in
from dicom_node.volumes import build_volume
from inference.phantoms import Phantom, chest_ct
from inference.phantoms.ctpa import ctpa
from inference.pipelines.angiogram_gate import (
    MOST_STEPS,
    NotAnAngiogram,
    contrast_of,
    refuse_moved,
    refuse_wide_slices,
    refuse_without_contrast,
    steps,
)
from inference.pipelines.lung_regions import Lungs
from inference.pipelines.working_grid import reduced
from inference.volume import Volume


@pytest.fixture(scope="module")
def angiogram() -> Phantom:
    return ctpa(seed=2, slices=50, size_px=160)


@pytest.fixture(scope="module")
def plain() -> Phantom:
    return chest_ct(seed=2, slices=30, size_px=160)


@pytest.fixture(scope="module")
def fine() -> Phantom:
    """Slices of 2 mm."""
    return ctpa(seed=3, slices=150, size_px=128)


def jumping(phantom: Phantom, *, at: list[int], slices: int) -> Volume:
    """The anatomy under the table's even steps goes ``slices`` forth and back again at each of ``at``."""
    array = phantom.volume.array_zyx
    source = np.arange(len(array))
    for number, first in enumerate(at):
        source[first:] += slices if number % 2 == 0 else -slices
    return replace(phantom.volume, array_zyx=array[np.clip(source, 0, len(array) - 1)])


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


def test_a_patient_at_rest_passes_whatever_the_slices(fine: Phantom, angiogram: Phantom) -> None:
    every_second = replace(fine.volume, array_zyx=fine.volume.array_zyx[::2])
    for volume in (fine.volume, every_second, angiogram.volume, flipped(fine)[0]):
        assert not len(steps(volume))
        refuse_moved(volume)


def test_steps_are_found_where_they_are_and_too_many_are_refused(fine: Phantom) -> None:
    at = [40, 60, 80, 100]
    moved = jumping(fine, at=at, slices=6)
    assert steps(moved).tolist() == at
    reason = r"can be read: the patient moved during the scan, .* between neighbouring slices in 4 places"
    with pytest.raises(NotAnAngiogram, match=reason):
        refuse_moved(moved)


def test_a_single_cough_and_a_slow_breath_are_no_reason(fine: Phantom) -> None:
    cough = jumping(fine, at=[60, 62], slices=6)
    assert 0 < len(steps(cough)) <= MOST_STEPS
    refuse_moved(cough)
    array = fine.volume.array_zyx.astype(np.float32)
    place = np.arange(len(array)) + 4 * np.sin(np.arange(len(array)) / 8)  # 8 mm up and down in every 100 mm
    below = np.clip(np.floor(place).astype(int), 0, len(array) - 2)
    share = np.clip(place - below, 0, 1).astype(np.float32)[:, None, None]
    breath = (1 - share) * array[below] + share * array[below + 1]
    refuse_moved(replace(fine.volume, array_zyx=breath.astype(np.int16)))


def test_contrast_that_comes_and_air_above_the_patient_are_no_motion(fine: Phantom) -> None:
    array = fine.volume.array_zyx.copy()
    array[75:][(array[75:] > 150) & (array[75:] < 700)] += 300
    array[:20], array[130:] = -1000, -1000
    assert len(steps(replace(fine.volume, array_zyx=array))) <= MOST_STEPS  # the two edges of the patient


def test_a_volume_of_one_slice_has_no_steps(fine: Phantom) -> None:
    assert not len(steps(replace(fine.volume, array_zyx=fine.volume.array_zyx[:1])))


@pytest.mark.real_data
def test_the_real_angiogram_has_no_steps(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_data / "cmb_crc_chest_cta/CMB-CRC-MSB-01068_series3_100dcm.tar.xz") as archive:
        archive.extractall(tmp_path / "cmb", filter="data")
    ((series,),) = studies_in(tmp_path / "cmb", scratch=tmp_path / "scratch").studies.values()
    small = reduced(build_volume(series).volume)
    assert len(small.array_zyx) == 100
    assert not len(steps(small))
