"""The one preparation: the pictures that the models learned from, and nothing else, reaches the models."""

import cv2
import numpy as np
import pytest

from inference.models import InfectionUnet, LungsUnet
from inference.models.slice_preparation import INPUT, LUNGS, prepare_slices
from inference.phantoms import chest_ct
from inference.volume import Volume


@pytest.fixture(scope="module")
def chest() -> Volume:
    return chest_ct(seed=5, slices=3, size_px=320).volume


def as_the_public_pictures_were_made(slice_hu: np.ndarray) -> np.ndarray:
    """Minimum to maximum of the slice → 8 bit → 256×256 → CLAHE, written out once more without our code."""
    low, high = int(slice_hu.min()), int(slice_hu.max())
    grey = ((slice_hu.astype(np.float32) - low) * (255.0 / (high - low))).astype(np.uint8)
    small = cv2.resize(grey, (256, 256), interpolation=cv2.INTER_AREA)
    return cv2.createCLAHE(clipLimit=7.0, tileGridSize=(8, 8)).apply(small)


def test_slices_become_what_the_public_pictures_are(chest: Volume) -> None:
    prepared = prepare_slices(chest.array_zyx)
    assert prepared.shape == (3, 1, 256, 256)
    assert prepared.dtype == np.float16
    for made, slice_hu in zip(prepared, chest.array_zyx, strict=True):
        expected = as_the_public_pictures_were_made(slice_hu)
        assert np.array_equal(made[0], expected.astype(np.float16))


def test_padding_and_metal_do_not_flatten_the_contrast(chest: Volume) -> None:
    plain = chest.array_zyx.copy()
    plain[:, :4, :4], plain[:, 4:8, :4] = -1024, 2000
    spoilt = plain.copy()
    spoilt[:, :4, :4], spoilt[:, 4:8, :4] = -3024, 3071
    assert np.array_equal(prepare_slices(plain), prepare_slices(spoilt))


def test_a_slice_without_contrast_is_no_error() -> None:
    assert np.isfinite(prepare_slices(np.full((1, 64, 64), -1024, np.int16))).all()


def test_the_lung_model_takes_this_preparation(chest: Volume) -> None:
    assert np.array_equal(LungsUnet().prepare(chest)[INPUT.name], prepare_slices(chest.array_zyx))


def test_the_lesion_model_takes_the_lungs_in_any_size() -> None:
    slices = np.zeros((2, *INPUT.shape), np.float16)
    lungs = np.zeros((2, 128, 64), bool)
    lungs[1, :64, 32:] = True  # the picture's upper right quarter
    tensors = InfectionUnet().prepare(slices, lungs)
    assert {name: (array.dtype, array.shape[1:]) for name, array in tensors.items()} == {
        spec.name: (np.dtype(spec.dtype), spec.shape) for spec in InfectionUnet().spec.inputs
    }
    assert tensors[INPUT.name] is slices
    expected = np.zeros((2, 256, 256), np.uint8)
    expected[1, :128, 128:] = 1
    assert np.array_equal(tensors[LUNGS.name], expected)
