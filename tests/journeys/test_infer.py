"""``dicom-node infer`` as a person runs it, on real data: results, refusals with a reason, never a traceback."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest

from tests.restored_series import restore

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
NOT_ANALYSED = 3
P002_ROW = 1
"""Of the label arrays, by labels/Index.csv."""
OFFENDERS = [
    ("dicom_odd_geometry/dicom2nifti_gantrytilting", "gantry tilt"),
    ("dicom_odd_geometry/dicom2nifti_notavolume", "positions repeat"),
    ("dicom_odd_geometry/dicom2nifti_sliceincrement", "gap"),
    ("dicom_odd_geometry/dcm_qa_ct", "localizer"),
    ("dicom_odd_geometry/pydicom_data", "PERFUSION"),
    ("dicom_broken/truncated_j2k", "80 mm"),
]


def infer(folder: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dicom_node", "infer", str(folder), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def dciodvfy_errors(path: Path) -> list[str]:
    checked = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (checked.stdout + checked.stderr).splitlines() if line.startswith("Error")]


def documents(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(out.rglob("findings.json"))]


@pytest.mark.real_data
@pytest.mark.parametrize(("folder", "reason"), OFFENDERS)
def test_offender_is_reported_as_not_analysed_with_its_reason(
    folder: str, reason: str, shared_data: Path, tmp_path: Path
) -> None:
    ended = infer(shared_data / folder, tmp_path)
    assert ended.returncode == NOT_ANALYSED, ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
    found = documents(tmp_path)
    assert found
    assert {document["status"] for document in found} == {"not_analysed"}
    assert any(reason.lower() in document["reason"].lower() for document in found), [one["reason"] for one in found]
    reports = sorted(tmp_path.rglob("report.dcm"))
    assert len(reports) == len(found)
    for path in tmp_path.rglob("*.dcm"):
        assert dciodvfy_errors(path) == []


@pytest.mark.real_data
def test_tilted_head_in_an_archive_is_refused(shared_data: Path, tmp_path: Path) -> None:
    archive = shared_data / "dicom_odd_geometry" / "dcm_qa_ct" / "ge_head_tilt18.5_variable_spacing.tar.xz"
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "head", filter="data")
    ended = infer(tmp_path / "head", tmp_path / "out")
    assert ended.returncode == NOT_ANALYSED
    assert documents(tmp_path / "out")[0]["reason"]


def marked_slices(out: Path, instance_numbers: dict[str, int]) -> set[int]:
    """Instance Numbers of the source slices on which the segmentation marks infected region."""
    seg = hd.seg.segread(out / "segmentation.dcm")
    infected = {
        number
        for number in seg.segment_numbers
        if seg.get_segment_description(number).segment_label == "Infected region"
    }
    return {
        instance_numbers[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        for frame in seg.PerFrameFunctionalGroupsSequence
        if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber in infected
    }


def analysed(folder: Path, tmp_path: Path) -> tuple[int, set[int]]:
    """How many slices a real series has, and which of them are marked (Instance Numbers)."""
    series = restore(folder, tmp_path / "series")
    ended = infer(series, tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in series.glob("*.dcm")]
    numbers = {str(header.SOPInstanceUID): int(header.InstanceNumber) for header in headers}
    return len(headers), marked_slices(tmp_path / "out", numbers)


@pytest.mark.real_data
def test_covid_patient_is_marked_where_radiologists_saw_infection(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "covid_ct_md"
    labels = np.load(folder / "labels" / "Slice-level-labels-updated-1.npy")[P002_ROW]
    labelled = {int(column) + 1 for column in np.flatnonzero(labels)}  # column i is Instance Number i + 1
    _, marked = analysed(folder / "P002_covid", tmp_path)
    assert len(marked & labelled) >= 0.85 * len(labelled)


@pytest.mark.real_data
def test_normal_patient_is_hardly_marked(shared_data: Path, tmp_path: Path) -> None:
    slices, marked = analysed(shared_data / "covid_ct_md" / "normal002_contiguous_part", tmp_path)
    assert len(marked) <= 0.1 * slices


@pytest.mark.real_data
def test_folder_as_published_without_uids_is_read(shared_data: Path, tmp_path: Path) -> None:
    ended = infer(shared_data / "covid_ct_md" / "P002_covid", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert documents(tmp_path)[0]["status"] == "positive"
    for path in tmp_path.rglob("*.dcm"):
        assert dciodvfy_errors(path) == []


def test_folder_without_dicom_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    ended = infer(tmp_path, tmp_path / "out")
    assert ended.returncode == 2
    assert "no DICOM instance" in ended.stderr
    assert "Traceback" not in ended.stderr
