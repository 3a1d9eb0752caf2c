"""Series in, volume or reason out: order, geometry, Hounsfield units."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import encode
from synthetic_ct import (
    COLUMNS,
    FRAME_OF_REFERENCE_UID,
    ROWS,
    axial_series,
    ct_slice,
    enhanced_ct,
    set_pixels,
    write,
)

from dicom_node.errors import NotAnalysable
from dicom_node.headers import read_instance_facts
from dicom_node.records import Series, StoredInstance
from dicom_node.spool import SegmentSpool
from dicom_node.volumes import build_volume


def refusal(folder: Path, images: list[Dataset], *, minimum_slices: int = 10) -> str:
    with pytest.raises(NotAnalysable) as caught:
        build_volume(write(folder, images), minimum_slices=minimum_slices)
    return str(caught.value)


def test_slices_are_ordered_by_position_not_by_number(tmp_path: Path) -> None:
    images = axial_series(12)
    shuffled = [images[index] for index in np.random.default_rng(5).permutation(12)]
    built = build_volume(write(tmp_path, shuffled))
    assert built.volume.array_zyx.shape == (12, ROWS, COLUMNS)
    assert built.volume.array_zyx.dtype == np.int16
    assert built.volume.array_zyx[:, 0, 0].tolist() == list(range(12, 0, -1))
    assert [each.sop_instance_uid for each in built.sources] == [str(image.SOPInstanceUID) for image in images]
    assert {each.frame_number for each in built.sources} == {1}
    assert built.volume.frame_of_reference_uid == FRAME_OF_REFERENCE_UID


def test_affine_is_that_of_the_standard(tmp_path: Path) -> None:
    volume = build_volume(write(tmp_path, axial_series(12))).volume
    assert volume.spacing_xyz_mm == pytest.approx((0.7, 0.8, 2.0))
    assert volume.patient_mm(index_ijk=(0, 0, 0)) == pytest.approx((-10, -20, 100))
    assert volume.patient_mm(index_ijk=(2, 3, 4)) == pytest.approx((-10 + 2 * 0.7, -20 + 3 * 0.8, 108))


@pytest.mark.parametrize(
    "orientation",
    [
        pytest.param((1, 0, 0, 0, 1, 0), id="head first supine"),
        pytest.param((-1, 0, 0, 0, 1, 0), id="feet first supine"),
        pytest.param((-1, 0, 0, 0, -1, 0), id="head first prone"),
        pytest.param((0, 1, 0, 0, 0, -1), id="sagittal"),
        pytest.param((1, 0, 0, 0, 0, -1), id="coronal"),
        pytest.param((math.cos(0.3), math.sin(0.3), 0, -math.sin(0.3), math.cos(0.3), 0), id="rotated in plane"),
        pytest.param((1, 0, 0, 0, math.cos(0.4), math.sin(0.4)), id="oblique"),
    ],
)
def test_every_regular_grid_is_right_handed_and_true(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    normal = np.cross(orientation[:3], orientation[3:])
    images = [ct_slice(n, 5.0 + normal * 2.0 * n, orientation=orientation) for n in range(12)]
    built = build_volume(write(tmp_path, images[::-1]))
    assert np.linalg.det(built.volume.index_to_patient[:3, :3]) > 0
    assert built.volume.array_zyx[:, 0, 0].tolist() == list(range(12))
    for k in (0, 11):
        assert built.volume.patient_mm(index_ijk=(0, 0, k)) == pytest.approx(5.0 + normal * 2.0 * k, abs=1e-3)


def test_gap_is_named_and_never_averaged_away(tmp_path: Path) -> None:
    images = axial_series(20)
    del images[7]
    assert refusal(tmp_path, images) == "gap: 4 mm between slices 7 and 8 where 2 mm is regular"


def test_rounded_positions_are_no_gap(tmp_path: Path) -> None:
    images = [ct_slice(n, (0, 0, round(n * 0.625, 1))) for n in range(40)]
    volume = build_volume(write(tmp_path, images)).volume
    assert volume.spacing_xyz_mm[2] == pytest.approx(0.625, abs=0.003)


def test_two_distances_in_one_series_are_no_grid(tmp_path: Path) -> None:
    images = [ct_slice(n, (0, 0, n * 2.0 if n < 10 else n * 3.0 - 10)) for n in range(20)]
    assert refusal(tmp_path, images).startswith("slice distances vary from 2 to 3 mm")


def test_small_differences_that_add_up_are_no_grid(tmp_path: Path) -> None:
    images = [ct_slice(n, (0, 0, n * 1.0 if n < 30 else 30 + (n - 30) * 1.1)) for n in range(60)]
    assert refusal(tmp_path, images).startswith("slice distances vary from 1 to 1.1 mm")


def test_gantry_tilt_is_named_in_degrees(tmp_path: Path) -> None:
    tilt = math.radians(18.5)
    orientation = (1, 0, 0, 0, math.cos(tilt), -math.sin(tilt))
    images = [ct_slice(n, (0, 0, 5.0 * n), orientation=orientation) for n in range(12)]
    assert refusal(tmp_path, images).startswith("gantry tilt of 18.5°")


def test_sideways_jumps_are_no_tilt(tmp_path: Path) -> None:
    images = [ct_slice(n, (7.0 if n == 5 else 0.0, 0, 2.0 * n)) for n in range(12)]
    assert refusal(tmp_path, images) == "slices are shifted sideways against each other by up to 7 mm"


def test_other_pixels_at_one_position_are_refused(tmp_path: Path) -> None:
    images = [*axial_series(12), ct_slice(99, (-10, -20, 104))]
    assert refusal(tmp_path, images) == "slice positions repeat: 2 instances at 104 mm along the slice axis"


def test_several_phases_are_refused_as_such(tmp_path: Path) -> None:
    second = [ct_slice(200 + n, (-10, -20, 100 + 2.0 * n)) for n in range(12)]
    assert "2 instances at each of 12 positions" in refusal(tmp_path, [*axial_series(12), *second])


def test_identical_copies_count_once(tmp_path: Path) -> None:
    images = axial_series(12)
    copy = ct_slice(5, images[7].ImagePositionPatient)
    copy.SOPInstanceUID = images[7].SOPInstanceUID + ".1"
    assert len(build_volume(write(tmp_path, [*images, copy])).sources) == 12


def edited(index: int, **changes: object) -> Callable[[], list[Dataset]]:
    def images() -> list[Dataset]:
        made = axial_series(12)
        for keyword, value in changes.items():
            if value is None:
                delattr(made[index], keyword)
            else:
                setattr(made[index], keyword, value)
        return made

    return images


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (edited(3, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "mixed orientations: 1 of 12 slices"),
        (edited(3, PixelSpacing=[0.9, 0.7]), "mixed pixel spacing: from 0.7 to 0.9 mm"),
        (edited(3, FrameOfReferenceUID="1.2.3"), "mixed Frames of Reference"),
        (edited(3, ImagePositionPatient=None), "Image Position (Patient) is missing or not readable in 1 of 12"),
        (edited(3, ImageOrientationPatient=None), "Image Orientation (Patient) is missing or not readable in 1 of 12"),
        (edited(3, RescaleSlope=None), "Rescale Slope or Intercept is missing in 1 of 12 slices"),
        (edited(3, RescaleType="OD"), "does not hold Hounsfield units"),
        (edited(3, PhotometricInterpretation="PALETTE COLOR"), "is a colour picture, not CT numbers"),
        (edited(3, PixelData=bytes(ROWS * COLUMNS * 2 - 10)), "is truncated: 86 bytes where its header asks for 96"),
        (edited(3, PixelData=None), "has no pixel data"),
        (edited(3, Rows=ROWS - 1), "mixed picture sizes within the series: 5×8, 6×8"),
        (lambda: axial_series(4), "only 4 slices; the pipeline needs at least 10"),
        (lambda: axial_series(1), "only 1 slice"),
    ],
)
def test_reasons(tmp_path: Path, images: Callable[[], list[Dataset]], reason: str) -> None:
    assert reason in refusal(tmp_path, images())


def test_localizers_alone_are_refused_and_beside_slices_left_out(tmp_path: Path) -> None:
    def make_localizer(image: Dataset) -> None:
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    localizers = axial_series(2, edit=make_localizer)
    for image in localizers:
        image.SOPInstanceUID += ".7"
    assert refusal(tmp_path / "alone", localizers).startswith("localizer")
    assert len(build_volume(write(tmp_path / "both", [*axial_series(12), *localizers])).sources) == 12


def test_rescale_is_applied_per_slice(tmp_path: Path) -> None:
    images = axial_series(12)
    images[4].RescaleIntercept = -1000
    images[5].RescaleSlope = 0.5
    column = build_volume(write(tmp_path, images)).volume.array_zyx[:, 0, 0]
    assert column[3] == 9
    assert column[4] == 8 + 24
    assert column[5] == round((1024 + 7) * 0.5 - 1024)


def test_padding_and_what_lies_below_air_become_air(tmp_path: Path) -> None:
    stored = np.full((ROWS, COLUMNS), 50, dtype=np.int16)
    stored[0] = -2000
    stored[1] = 1234
    stored[2] = 1236

    def pad(image: Dataset) -> None:
        set_pixels(image, stored)
        image.RescaleIntercept = 0
        image.add_new(0x00280120, "SS", 1234)
        image.add_new(0x00280121, "SS", 1235)

    array = build_volume(write(tmp_path, axial_series(12, edit=pad))).volume.array_zyx
    assert array[6, :4, 0].tolist() == [-1024, -1024, 1236, 50]


def test_highest_values_are_cut_not_wrapped(tmp_path: Path) -> None:
    def metal(image: Dataset) -> None:
        set_pixels(image, np.full((ROWS, COLUMNS), 65535, dtype=np.uint16))
        image.RescaleIntercept = 0

    assert build_volume(write(tmp_path, axial_series(12, edit=metal))).volume.array_zyx.max() == 32767


def test_unused_high_bits_are_cut_and_the_sign_extended(tmp_path: Path) -> None:
    def twelve_bits(image: Dataset) -> None:
        set_pixels(image, np.full((ROWS, COLUMNS), 0x0FFF, dtype=np.uint16))
        image.BitsStored, image.HighBit, image.PixelRepresentation = 12, 11, 1
        image.RescaleIntercept = 0

    def with_overlay(image: Dataset) -> None:
        set_pixels(image, np.full((ROWS, COLUMNS), 0xF000 + 1030, dtype=np.uint16))
        image.BitsStored, image.HighBit = 12, 11

    assert (build_volume(write(tmp_path / "a", axial_series(12, edit=twelve_bits))).volume.array_zyx == -1).all()
    assert (build_volume(write(tmp_path / "b", axial_series(12, edit=with_overlay))).volume.array_zyx == 6).all()


def test_frames_of_enhanced_ct_are_slices(tmp_path: Path) -> None:
    positions = [(0, 0, 30 - 2.5 * n) for n in range(12)]
    image = enhanced_ct(positions, rescale_intercepts=[-100 - n for n in range(12)])
    built = build_volume(write(tmp_path, [image]))
    assert (built.volume.array_zyx == 0).all()
    assert [each.frame_number for each in built.sources] == list(range(12, 0, -1))
    assert built.volume.patient_mm(index_ijk=(0, 0, 0)) == pytest.approx((0, 0, 2.5))


def test_header_that_names_more_frames_than_there_are(tmp_path: Path) -> None:
    image = enhanced_ct([(0, 0, 2.5 * n) for n in range(12)], rescale_intercepts=[-100] * 12)
    image.NumberOfFrames = 13
    assert "is truncated" in refusal(tmp_path, [image])


def test_frames_without_geometry_are_refused(tmp_path: Path) -> None:
    images = axial_series(12)
    images[3].NumberOfFrames = 2
    images[3].PixelData += images[3].PixelData
    assert refusal(tmp_path, images).endswith("holds 2 frames, but describes the geometry of 1")


@pytest.mark.parametrize("frames", [-1, 20_000_000])
def test_absurd_numbers_of_frames_are_refused(tmp_path: Path, frames: int) -> None:
    images = axial_series(12)
    images[3].NumberOfFrames = frames
    assert "number of frames that no CT has" in refusal(tmp_path, images)


def test_a_size_that_no_memory_holds_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    series = write(tmp_path, axial_series(12))
    claimed = tuple(replace(each, facts=replace(each.facts, rows=65535, columns=65535)) for each in series.instances)
    with pytest.raises(NotAnalysable, match="too large: 12 slices of 65535×65535"):
        build_volume(replace(series, instances=claimed))


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    series = write(tmp_path, axial_series(12))
    series.instances[3].file.path.unlink()
    with pytest.raises(NotAnalysable, match=f"instance {series.instances[3].facts.sop_instance_uid} cannot be read"):
        build_volume(series)


def test_what_a_disk_has_changed_is_not_analysed(tmp_path: Path) -> None:
    """Uncompressed pixels, and one bit of them: nothing but the digest tells."""
    spool = SegmentSpool(tmp_path / "spool")
    held = []
    for image in axial_series(12):
        writer = spool.begin(
            sop_instance_uid=image.SOPInstanceUID,
            sop_class_uid=image.SOPClassUID,
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
        writer.write([memoryview(encode(image, False, True) or b"")])
        stored = writer.publish(received_at=datetime.now(UTC), calling_ae="CT")
        facts = read_instance_facts(stored.file)
        held.append(StoredInstance(facts=facts, file=stored.file, digest=stored.digest, size_bytes=stored.size_bytes))
    series = Series(study_uid=held[0].facts.study_uid, series_uid=held[0].facts.series_uid, instances=tuple(held))
    assert build_volume(series).volume.array_zyx.shape[0] == 12
    file = held[4].file
    with file.path.open("r+b") as segment:
        segment.seek(file.start + (file.size_bytes or 0) - 2)
        last = segment.read(1)
        segment.seek(-1, 1)
        segment.write(bytes([last[0] ^ 1]))
    with pytest.raises(NotAnalysable, match=f"{held[4].facts.sop_instance_uid} is damaged on the disk of the node"):
        build_volume(series)
