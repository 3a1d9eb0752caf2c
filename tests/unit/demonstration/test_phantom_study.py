"""The phantom as DICOM: valid by an independent validator, in its place, its truth read back as it was."""

import json
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

from dicom_node.commands.phantom import phantom as phantom_command
from dicom_node.demonstration.phantom_study import PhantomStudy, write_phantom_study

SLICES, SIZE_PX, SEED = 12, 96, 4


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudy:
    out = tmp_path_factory.mktemp("study")
    return write_phantom_study(out, kind="ct", slices=SLICES, size_px=SIZE_PX, seed=SEED)


def _errors(path: Path) -> list[str]:
    """What dciodvfy calls an error."""
    checked = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in checked.stderr.splitlines() + checked.stdout.splitlines() if line.startswith("Error")]


def test_dciodvfy_finds_no_error_in_images_and_truth(study: PhantomStudy) -> None:
    for path in (study.images[0], study.images[-1], study.truth):
        assert _errors(path) == []


def test_dciodvfy_would_find_an_error(study: PhantomStudy, tmp_path: Path) -> None:
    spoilt = pydicom.dcmread(study.images[0])
    del spoilt.RescaleIntercept
    spoilt.save_as(tmp_path / "spoilt.dcm")
    assert _errors(tmp_path / "spoilt.dcm")


def test_images_hold_the_phantom_at_its_place(study: PhantomStudy) -> None:
    volume = study.phantom.volume
    images = sorted((pydicom.dcmread(path) for path in study.images), key=lambda image: image.ImagePositionPatient[2])
    assert len({image.SOPInstanceUID for image in images}) == SLICES
    assert [int(image.InstanceNumber) for image in images] == list(range(SLICES, 0, -1))
    for k, image in enumerate(images):
        hu = image.pixel_array * int(image.RescaleSlope) + int(image.RescaleIntercept)
        assert np.array_equal(hu, volume.array_zyx[k])
        position = volume.patient_mm(index_ijk=(0, 0, k))
        assert [float(value) for value in image.ImagePositionPatient] == pytest.approx(position, abs=1e-4)
        assert [float(value) for value in image.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
        assert [float(value) for value in image.PixelSpacing] == pytest.approx(volume.spacing_xyz_mm[:2], abs=1e-4)
        assert (image.StudyInstanceUID, image.PatientName) == (study.study_uid, "PHANTOM^CHEST")


def test_the_truth_reads_back_as_it_was(study: PhantomStudy) -> None:
    truth = hd.seg.segread(study.truth)
    by_instance_number = sorted((pydicom.dcmread(path) for path in study.images), key=lambda i: -int(i.InstanceNumber))
    uids = [image.SOPInstanceUID for image in by_instance_number]
    pixels = truth.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    labels = [truth.get_segment_description(number).segment_label for number in truth.segment_numbers]
    assert labels == ["Left lung", "Right lung", "Infected region"]
    expected = (study.phantom.left_lung, study.phantom.right_lung, study.phantom.infected)
    for number, mask in enumerate(expected):
        assert mask.any()
        assert np.array_equal(pixels[..., number] > 0, mask)


def test_the_same_arguments_write_the_same_study(study: PhantomStudy, tmp_path: Path) -> None:
    again = write_phantom_study(tmp_path, kind="ct", slices=SLICES, size_px=SIZE_PX, seed=SEED)
    assert again.study_uid == study.study_uid
    for one, other in zip((*study.images, study.truth), (*again.images, again.truth), strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


@pytest.mark.parametrize("changed", [{"seed": 5}, {"slices": 11}, {"size_px": 100}, {"normal": True}])
def test_another_phantom_shares_no_uid(study: PhantomStudy, tmp_path: Path, changed: dict[str, int]) -> None:
    arguments = {"slices": SLICES, "size_px": SIZE_PX, "seed": SEED} | changed
    other = write_phantom_study(tmp_path, kind="ct", **arguments)
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
    for one_path, other_path in ((study.images[0], other.images[0]), (study.truth, other.truth)):
        one, another = pydicom.dcmread(one_path), pydicom.dcmread(other_path)
        assert not {one[keyword].value for keyword in keywords} & {another[keyword].value for keyword in keywords}


def test_a_normal_phantom_has_lungs_only(tmp_path: Path) -> None:
    study = write_phantom_study(tmp_path, kind="ct", slices=SLICES, size_px=SIZE_PX, seed=SEED, normal=True)
    truth = hd.seg.segread(study.truth)
    labels = [truth.get_segment_description(number).segment_label for number in truth.segment_numbers]
    assert labels == ["Left lung", "Right lung"]
    assert _errors(study.truth) == []


def test_the_truth_may_lie_elsewhere(tmp_path: Path) -> None:
    study = write_phantom_study(
        tmp_path / "a", kind="ct", slices=SLICES, size_px=64, seed=1, truth_folder=tmp_path / "b"
    )
    assert study.truth.parent == tmp_path / "b"
    assert sorted(study.folder.rglob("*")) == sorted(study.images)


def test_the_command_writes_a_study_and_says_where(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        phantom_command, [str(tmp_path / "out"), "--kind", "ct", "--slices", "12", "--size", "64", "--seed", "7"]
    )
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 12
    assert [path.name for path in (tmp_path / "out" / "truth").iterdir()] == ["truth.dcm"]


@pytest.fixture(scope="module")
def angiogram(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudy:
    out = tmp_path_factory.mktemp("angiogram")
    return write_phantom_study(out, kind="ctpa", slices=40, size_px=128, seed=1)


def test_an_angiogram_is_valid_with_its_emboli_as_a_segment(angiogram: PhantomStudy) -> None:
    for path in (angiogram.images[0], angiogram.truth):
        assert _errors(path) == []
    truth = hd.seg.segread(angiogram.truth)
    number = truth.number_of_segments
    described = truth.get_segment_description(number)
    assert (described.segment_label, described.segmented_property_type.value) == ("Pulmonary emboli", "55584005")
    uids = [pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in angiogram.images]
    pixels = truth.get_pixels_by_source_instance(uids, segment_numbers=[number], assert_missing_frames_are_empty=True)
    assert np.array_equal(pixels[..., 0] > 0, angiogram.phantom.clots)


def test_boxes_of_an_angiogram_frame_its_emboli(angiogram: PhantomStudy) -> None:
    boxes = json.loads((angiogram.truth.parent / "boxes.json").read_text(encoding="utf-8"))
    assert boxes
    order = [str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in angiogram.images]
    for uid, found in boxes.items():
        clots = angiogram.phantom.clots[order.index(uid)]
        for left, top, right, bottom in np.array(found, int):
            inside = clots[top:bottom, left:right]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no phantoms of kind 'mr'; there are ct, ctpa"):
        write_phantom_study(tmp_path, kind="mr", slices=10, size_px=64, seed=1)
