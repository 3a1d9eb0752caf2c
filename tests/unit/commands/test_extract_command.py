"""``dicom-node extract``: what comes out is what went in, and what is damaged is told."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydicom import dcmread

from dicom_node.__main__ import main
from dicom_node.index import Index, open_database
from tests.synthetic_ct import STUDY_UID, axial_series, write

SLICES = 4


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Of a node that has taken a study."""
    node = tmp_path / "node"
    open_database(node / "node.sqlite").dispose()
    write(tmp_path / "files", axial_series(SLICES))
    done = CliRunner().invoke(main, ["receive", str(tmp_path / "files"), "--data-dir", str(node)])
    assert done.exit_code == 0, done.output
    return node


def extract(study_uid: str, folder: Path, data_dir: Path) -> Result:
    return CliRunner().invoke(main, ["extract", study_uid, str(folder), "--data-dir", str(data_dir)])


def test_a_study_comes_out_as_it_went_in(tmp_path: Path, data_dir: Path) -> None:
    out = tmp_path / "out" / "deeper"
    for _ in range(2):
        done = extract(STUDY_UID, out, data_dir)
        assert (done.exit_code, done.output) == (0, f"{SLICES} files written to {out}\n")
    sent = {image.SOPInstanceUID: image for image in map(dcmread, (tmp_path / "files").iterdir())}
    files = sorted(out.iterdir())
    assert {path.stem for path in files} == set(sent)
    for path in files:
        assert dcmread(path) == sent[path.stem]
        assert path.read_bytes()[:128] == bytes(128), "what the spool notes there stays in the spool"
    tested = subprocess.run(["dcmftest", *map(str, files)], capture_output=True, text=True, check=True)
    assert tested.stdout.count("yes:") == SLICES


def test_a_damaged_instance_is_named_and_the_others_come(tmp_path: Path, data_dir: Path) -> None:
    instance = Index(open_database(data_dir / "node.sqlite")).instances_of_study(STUDY_UID)[1]
    with instance.file.path.open("r+b") as segment:
        segment.seek(instance.file.start + 600)
        segment.write(b"damage")
    done = extract(STUDY_UID, tmp_path / "out", data_dir)
    assert done.exit_code == 1
    assert f"{instance.facts.sop_instance_uid}: damaged" in done.output
    assert "1 instances are damaged" in done.output
    assert len(list((tmp_path / "out").iterdir())) == SLICES - 1


def test_an_unknown_study_is_told(tmp_path: Path, data_dir: Path) -> None:
    done = extract("1.2.3", tmp_path / "out", data_dir)
    assert done.exit_code == 1
    assert "never received an instance of study 1.2.3" in done.output


def test_a_folder_that_no_node_ran_on_is_told(tmp_path: Path) -> None:
    done = extract(STUDY_UID, tmp_path / "out", tmp_path / "nothing")
    assert done.exit_code == 2
    assert "no node has ever run" in done.output
