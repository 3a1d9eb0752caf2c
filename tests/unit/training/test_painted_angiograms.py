"""Clots painted into the vessels of a picture: where they lie, what they look like, and which slices are held back."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from dicom_node.__main__ import main
from dicom_node.commands.angiogram_folder import angiogram_in
from inference.engines.embedded import EmbeddedEngine
from inference.phantoms.ctpa import ctpa
from inference.training.angiograms import RUN, Angiograms
from inference.training.painted_angiograms import (
    HELD_BACK,
    TRAINING,
    RealAngiogram,
    joined,
    painted_angiograms,
)
from inference.training.painted_ct import find_vessels, paint_clots
from inference.training.slice_pool import SlicePool

REPOSITORY = Path(__file__).parents[3] / "triton_models"


@pytest.fixture(scope="module")
def generated() -> RealAngiogram:
    """A generated angiogram without clots in the place of a real one."""
    phantom = ctpa(seed=9, slices=60, size_px=256, normal=True)
    vessels = find_vessels(phantom.volume, phantom.left_lung, phantom.right_lung)
    return RealAngiogram(
        volume=phantom.volume, left_lung=phantom.left_lung, right_lung=phantom.right_lung, vessels=vessels
    )


def test_clots_replace_blood_and_nothing_else(generated: RealAngiogram) -> None:
    painted = generated.painted(1)
    before, after = generated.volume.array_zyx, painted.volume.array_zyx
    assert painted.clots.any()
    assert not painted.clots[~generated.vessels.lumen].any()
    assert np.median(before[painted.clots]) > 180
    assert 20 < np.median(after[painted.clots]) < 130
    changed = after != before
    assert not changed[(before < 0) & ~painted.clots & ~_beside(painted.clots)].any()
    assert changed.mean() < 0.02
    assert np.array_equal(generated.painted(1).clots, painted.clots)
    assert not np.array_equal(generated.painted(2).clots, painted.clots)


def _beside(clots: NDArray[np.bool_]) -> NDArray[np.bool_]:
    grown = clots.copy()
    for axis in (0, 1, 2):
        for step in (-1, 1):
            grown |= np.roll(grown, step, axis=axis)
    return grown


def test_heart_spine_and_ribs_are_no_vessels(generated: RealAngiogram) -> None:
    """Nothing that is painted in lies far from lung, and some of it is wide enough for a clot."""
    assert len(generated.vessels.ridge_zyx) > 50
    assert generated.vessels.depth_mm.max() <= 12.0
    away = generated.vessels.lumen & ~generated.lungs
    columns = np.flatnonzero(generated.lungs.any(axis=(0, 1)))
    used = np.flatnonzero(away.any(axis=(0, 1)))
    assert columns[0] < used[0]
    assert used[-1] < columns[-1]


def test_a_picture_without_contrast_cannot_be_painted(generated: RealAngiogram) -> None:
    bare = generated.bare().volume
    dark = type(bare)(
        array_zyx=np.minimum(bare.array_zyx, 60).astype(np.int16),
        index_to_patient=bare.index_to_patient,
        frame_of_reference_uid=bare.frame_of_reference_uid,
    )
    vessels = find_vessels(dark, generated.lungs, np.zeros_like(generated.lungs))
    with pytest.raises(ValueError, match="no vessel with contrast"):
        paint_clots(dark, vessels, np.random.default_rng(1))


def test_training_and_held_back_slices_never_meet(generated: RealAngiogram) -> None:
    trained = {k for quarter in TRAINING for k in generated.quarter(quarter)}
    held_back = {k for quarter in HELD_BACK for k in generated.quarter(quarter)}
    assert trained
    assert held_back
    assert min(abs(one - other) for one in trained for other in held_back) > 2


def test_runs_have_boxes_around_what_was_painted(generated: RealAngiogram) -> None:
    made = painted_angiograms(generated, TRAINING, first_seed=1, paintings=3, bare=1)
    assert made.grey.shape[1:] == (RUN, 416, 416)
    boxes = [(run, at, box) for run in range(len(made.boxes)) for at in range(RUN) for box in made.boxes[run][at]]
    assert boxes
    for run, at, (left, top, right, bottom) in boxes:
        if left < 0 or top < 0 or right > 416 or bottom > 416:
            continue
        inside = made.grey[run, at, int(top) : int(bottom) + 1, int(left) : int(right) + 1]
        assert ((inside > 55) & (inside < 125)).mean() > 0.1
    bare = made.boxes[-len(made.boxes) // 4 :]
    assert not any(len(one) for run in bare for one in run)


def test_a_pool_draws_from_phantoms_and_painted_alike(generated: RealAngiogram) -> None:
    painted = painted_angiograms(generated, TRAINING, first_seed=1, paintings=2, bare=1)
    black = Angiograms(
        grey=np.zeros((1, RUN, 416, 416), np.uint8), boxes=(tuple(np.zeros((0, 4), np.float32) for _ in range(RUN)),)
    )
    pool, rng = SlicePool(black, painted), np.random.default_rng(3)
    drawn = [pool.draw(filled=True, rng=rng) for _ in range(40)]
    shown = [bool(picture.any()) for picture, _ in drawn]
    assert 8 < sum(shown) < 32
    assert all(len(boxes) > 0 for (_, boxes), show in zip(drawn, shown, strict=True) if show)
    assert len(joined(black, painted).boxes) == len(painted.boxes) + 1


@pytest.mark.real_data
def test_the_real_angiogram_can_be_painted(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_data / "cmb_crc_chest_cta/CMB-CRC-MSB-01068_series3_100dcm.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    real = RealAngiogram.of(angiogram_in(tmp_path), EmbeddedEngine(repository=REPOSITORY))
    painted = real.painted(7)
    assert painted.clots.any(axis=(1, 2)).sum() >= 5
    assert 20 < np.median(painted.volume.array_zyx[painted.clots]) < 130
    spine = slice(230, 290)
    assert not real.vessels.lumen[50, 340:, spine].any()
    made = CliRunner().invoke(main, ["phantom", str(tmp_path / "out"), "--kind", "ctpa", "--onto", str(tmp_path)])
    assert made.exit_code == 0, made.output
    written = [pydicom.dcmread(path) for path in sorted((tmp_path / "out").glob("*.dcm"))]
    assert len(written) == 100
    sources = {str(pydicom.dcmread(path, stop_before_pixels=True).PatientID) for path in tmp_path.glob("*.dcm")}
    assert not {str(one.PatientID) for one in written} & sources
    assert "painted on a real CTPA" in written[0].StudyDescription
    assert json.loads((tmp_path / "out/truth/boxes.json").read_text())
