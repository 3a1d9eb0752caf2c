"""Real scans, odd, broken or sound: a volume or a clear reason, never another exception."""

import tarfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID
from restored_series import restore
from synthetic_ct import series_of

from dicom_node.errors import InstanceRefused, NotAnalysable
from dicom_node.headers import read_instance_facts
from dicom_node.records import Part10File, Series
from dicom_node.volumes import SeriesVolume, build_volume

pytestmark = pytest.mark.real_data


def read_folder(folder: Path) -> list[Series]:
    by_series: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            by_series[read_instance_facts(Part10File(path)).series_uid].append(path)
        except InstanceRefused:
            assert not path.read_bytes()[128:].startswith(b"DICM"), path
    return [series_of(paths) for paths in by_series.values()]


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("dicom_odd_geometry/dicom2nifti_gantrytilting", "gantry tilt of 14.0°"),
        ("dicom_odd_geometry/dicom2nifti_notavolume", "slice positions repeat: 2 instances at 61.5 mm"),
        ("dicom_odd_geometry/dicom2nifti_sliceincrement", "gap: 10 mm between slices 3 and 4 where 5 mm is regular"),
        ("dicom_odd_geometry/pydicom_data", "only 2 slices"),
        ("dicom_broken/truncated_j2k", "mixed Frames of Reference"),
    ],
)
def test_offenders_are_refused_with_their_reason(shared_data: Path, folder: str, reason: str) -> None:
    (series,) = read_folder(shared_data / folder)
    with pytest.raises(NotAnalysable, match=reason):
        build_volume(series)


def test_tilted_head_is_refused(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_data / "dicom_odd_geometry/dcm_qa_ct/ge_head_tilt18.5_variable_spacing.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    with pytest.raises(NotAnalysable, match=r"gantry tilt of 18\.5°"):
        build_volume(read_folder(tmp_path)[0])


def test_localizer_and_dose_page_are_no_slices(shared_data: Path) -> None:
    folder = shared_data / "dicom_odd_geometry/dcm_qa_ct"
    for name, reason in (("philips_localizer.dcm", "localizer"), ("philips_dose_info_sc.dcm", "no CT images")):
        with pytest.raises(NotAnalysable, match=reason):
            build_volume(series_of([folder / name]))


def test_every_reference_object_gives_a_volume_or_a_reason(shared_data: Path) -> None:
    outcomes = [volume_or_reason(series) for series in read_folder(shared_data / "seg_sr_references")]
    (three_slices,) = [outcome for outcome in outcomes if isinstance(outcome, SeriesVolume)]
    assert all(outcomes)
    assert three_slices.volume.array_zyx.shape == (3, 512, 512)
    assert three_slices.volume.spacing_xyz_mm[2] == pytest.approx(1.0)


def volume_or_reason(series: Series) -> SeriesVolume | str:
    try:
        return build_volume(series, minimum_slices=2)
    except NotAnalysable as refusal:
        return str(refusal)


def stacked(path: Path, folder: Path) -> SeriesVolume:
    """A volume of three copies of a file, 5 mm apart, otherwise unchanged."""
    image = pydicom.dcmread(path)
    paths = []
    for number in range(3):
        image.ImagePositionPatient[2] = 5.0 * number
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number}")
        paths.append(folder / f"{number}.dcm")
        image.save_as(paths[-1])
    return build_volume(series_of(paths), minimum_slices=3)


TOLERANCE_HU = {"81": 1, "91": 5, "50": 65, "51": 36, "53": 36, "55": 36}
"""Lossy syntaxes by the end of their UID: SOURCE.txt's differences, and the rescaled 8- and 12-bit ones as measured."""


def test_every_transfer_syntax_gives_the_same_picture(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "dicom_transfer_syntaxes"
    reference = pydicom.dcmread(folder / "CTImage.dcm").pixel_array.astype(np.int32) - 1024
    paths = sorted(folder.glob("*TransferSyntax_*.dcm"))
    assert len(paths) == 15
    for path in paths:
        (tmp_path / path.stem).mkdir()
        array = stacked(path, tmp_path / path.stem).volume.array_zyx
        allowed = TOLERANCE_HU.get(path.stem.rsplit(".", 1)[-1], 0) if ".1.2.4." in path.stem else 0
        assert np.abs(array - np.maximum(reference, -1024)).max() <= allowed, path.stem


def test_broken_codestreams_are_told(shared_data: Path, tmp_path: Path) -> None:
    for path in sorted((shared_data / "dicom_broken" / "truncated_j2k").glob("*.dcm")):
        with pytest.raises(NotAnalysable, match=r"pixel data of instance .* cannot be decoded"):
            stacked(path, tmp_path)


def test_chest_cta_has_its_padding_as_air(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_data / "cmb_crc_chest_cta/CMB-CRC-MSB-01068_series3_100dcm.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    (series,) = read_folder(tmp_path)
    volume = build_volume(series).volume
    assert volume.array_zyx.shape == (100, 512, 512)
    assert volume.spacing_xyz_mm == pytest.approx((0.898438, 0.898438, 2.5))
    assert volume.array_zyx.min() == -1024
    assert volume.array_zyx.max() > 1000


def test_covid_patient_runs_from_feet_to_head(shared_data: Path, tmp_path: Path) -> None:
    folder = restore(shared_data / "covid_ct_md" / "P002_covid", tmp_path / "restored")
    (series,) = read_folder(folder)
    built = build_volume(series)
    assert built.volume.array_zyx.shape == (133, 512, 512)
    first, last = pydicom.dcmread(built.sources[0].file.path), pydicom.dcmread(built.sources[-1].file.path)
    assert (first.InstanceNumber, last.InstanceNumber) == (133, 1)
    assert (built.volume.array_zyx[0] == np.maximum(first.pixel_array.astype(np.int32) - 1024, -1024)).all()
    assert built.volume.patient_mm(index_ijk=(0, 0, 132))[2] == pytest.approx(float(last.ImagePositionPatient[2]))
