"""Labels come back to the voxels that they were made from."""

import numpy as np
import pytest

from inference.model import Model
from inference.models import MODELS
from inference.models.slice_preparation import OUTPUT
from inference.volume import Volume


def volume(slices: int, rows: int, columns: int) -> Volume:
    array_zyx = np.zeros((slices, rows, columns), np.int16)
    return Volume(array_zyx=array_zyx, index_to_patient=np.eye(4), frame_of_reference_uid="2.25.1")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.spec.name)
@pytest.mark.parametrize(("rows", "columns"), [(256, 256), (512, 512), (384, 640), (192, 128)])
def test_a_square_lands_on_its_source_pixels(model: Model, rows: int, columns: int) -> None:
    labels = np.zeros((3, 256, 256), np.uint8)
    labels[1, 64:128, 32:96] = 1
    result = model.interpret({OUTPUT.name: labels}, volume(3, rows, columns))
    expected = np.zeros((3, rows, columns), np.uint8)
    expected[1, rows // 4 : rows // 2, columns // 8 : columns * 3 // 8] = 1
    assert result.dtype == np.uint8
    assert result.shape == expected.shape
    wrong = np.argwhere(result != expected)
    assert len(wrong) <= 4 * (rows // 128)  # corners are rounded, nothing else
    assert set(np.unique(result)) <= {0, 1}


def test_contours_are_smooth_after_enlarging() -> None:
    rows, columns = np.ogrid[:256, :256]
    disc = ((rows - 127.5) ** 2 + (columns - 127.5) ** 2 < 60**2).astype(np.uint8)
    result = MODELS[0].interpret({OUTPUT.name: disc[None]}, volume(1, 1024, 1024))[0].astype(bool)
    rows, columns = np.ogrid[:1024, :1024]
    truth = (rows - 511.5) ** 2 + (columns - 511.5) ** 2 < 240**2
    nearest = np.kron(disc, np.ones((4, 4), np.uint8)).astype(bool)
    assert np.count_nonzero(result ^ truth) < 0.9 * np.count_nonzero(nearest ^ truth)


def test_labels_of_another_volume_are_refused() -> None:
    with pytest.raises(ValueError, match="2 label slices for a volume of 3"):
        MODELS[0].interpret({OUTPUT.name: np.zeros((2, 256, 256), np.uint8)}, volume(3, 256, 256))
