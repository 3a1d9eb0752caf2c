"""A folder of phantoms as the node writes them is labelled data as it is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread

from dicom_node.commands.labelled_studies import ALL_READERS
from dicom_node.demonstration.phantom_study import PhantomStudy, write_phantom_study
from inference.training.cases import READERS, case_names, read_case
from inference.training.cases.base import LESION, LUNG

SLICES, SIZE_PX = 12, 64


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudy:
    return write_phantom_study(
        tmp_path_factory.mktemp("data") / "p1", kind="ct", slices=SLICES, size_px=SIZE_PX, seed=4
    )


@pytest.fixture
def folder(original: PhantomStudy, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(original.folder, tmp_path / "data" / "p1"))


def palette_of(study: PhantomStudy) -> NDArray[np.uint8]:
    lungs = study.phantom.left_lung | study.phantom.right_lung
    return np.where(study.phantom.infected, LESION, lungs * LUNG).astype(np.uint8)


def test_a_phantom_is_a_case(original: PhantomStudy, folder: Path) -> None:
    assert case_names(folder.parent, READERS) == ()
    assert case_names(folder.parent, ALL_READERS) == ("p1",)
    case = read_case(folder, ALL_READERS)
    assert (case.name, case.in_hounsfield_units) == ("p1", True)
    assert np.array_equal(case.slices, original.phantom.volume.array_zyx)
    assert np.array_equal(case.palette, palette_of(original))


def test_slices_written_from_left_to_right_are_turned(original: PhantomStudy, folder: Path) -> None:
    """Rows of a feet-first or prone patient run the other way: the case does not."""
    width_mm = (SIZE_PX - 1) * original.phantom.volume.spacing_xyz_mm[0]

    def mirrored(position: list[float]) -> list[str]:
        return [f"{position[0] + width_mm:.10g}", *(str(value) for value in position[1:])]

    for path in folder.glob("*.dcm"):
        image = dcmread(path)
        image.PixelData = np.ascontiguousarray(image.pixel_array[:, ::-1]).tobytes()
        image.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = mirrored(image.ImagePositionPatient)
        image.save_as(path)
    truth = dcmread(folder / "truth" / "truth.dcm")
    frames = truth.pixel_array[:, :, ::-1]
    truth.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()
    truth.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    for group in truth.PerFrameFunctionalGroupsSequence:
        group.PlanePositionSequence[0].ImagePositionPatient = mirrored(
            group.PlanePositionSequence[0].ImagePositionPatient
        )
    truth.save_as(folder / "truth" / "truth.dcm")
    case = read_case(folder, ALL_READERS)
    assert np.array_equal(case.slices, original.phantom.volume.array_zyx)
    assert np.array_equal(case.palette, palette_of(original))


def _without_truth(folder: Path) -> None:
    shutil.rmtree(folder / "truth")


def _with_a_second_truth(folder: Path) -> None:
    again = dcmread(folder / "truth" / "truth.dcm")
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = again.SOPInstanceUID + ".1"
    again.save_as(folder / "second.dcm")


def _without_images(folder: Path) -> None:
    for path in folder.glob("*.dcm"):
        path.unlink()


def _without_a_slice(folder: Path) -> None:
    (folder / "IM0006.dcm").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_truth, "p1 holds DICOM files but no DICOM SEG: add"),
        (_with_a_second_truth, r"p1 holds 2 segmentations \(second\.dcm, truth/truth\.dcm\): leave"),
        (_without_images, r"truth\.dcm refers to CT images that are not in .*p1"),
        (_without_a_slice, r"p1: series [0-9.]+ makes no volume: gap"),
    ],
)
def test_what_is_no_case_is_named(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        read_case(folder, ALL_READERS)
