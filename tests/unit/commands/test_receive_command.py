"""``dicom-node receive``: what is taken from a folder and what is not, beside whatever else uses the data folder."""

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydicom import dcmread
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)
from pynetdicom.dsutils import encode

from dicom_node.__main__ import main
from dicom_node.index import Index, open_database
from dicom_node.records import Part10File
from dicom_node.spool import SegmentSpool
from dicom_node.spool.occupancy import Occupancy
from dicom_node.spool.record_head import MAGIC
from tests.spool_contents import content, stored_files
from tests.synthetic_ct import STUDY_UID, axial_series, ct_slice, write
from tests.unit.audit.audit_schema import coded, valid_message

SLICES = 6


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Of a node that has run."""
    open_database(tmp_path / "node" / "node.sqlite").dispose()
    return tmp_path / "node"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "files", axial_series(SLICES))
    return tmp_path / "files"


def receive(folder: Path, data_dir: Path) -> Result:
    return CliRunner().invoke(main, ["receive", str(folder), "--data-dir", str(data_dir)])


def held(data_dir: Path) -> int:
    return len(kept_files(data_dir))


def kept_files(data_dir: Path) -> list[Part10File]:
    """Every intact instance of the spool."""
    return stored_files(SegmentSpool(data_dir / "spool"))


def listed_files(data_dir: Path) -> list[Part10File]:
    """Where the index says that instances lie, each intact."""
    index, spool = Index(open_database(data_dir / "node.sqlite")), SegmentSpool(data_dir / "spool")
    (progress,) = index.receiving()
    (series,) = index.series_of_study(progress.study_uid, generation=progress.generation)
    for instance in series.instances:
        assert spool.describe(instance.file).digest == instance.digest
    return [instance.file for instance in series.instances]


def test_every_file_is_taken_once(folder: Path, data_dir: Path) -> None:
    for _ in range(2):
        done = receive(folder, data_dir)
        assert (done.exit_code, done.output) == (0, f"{SLICES} of {SLICES} files taken\n")
    assert held(data_dir) == SLICES
    (progress,) = Index(open_database(data_dir / "node.sqlite")).receiving()
    assert progress.generation == 1


def imports(data_dir: Path) -> list[tuple[str, str, dict[str, int]]]:
    """Of each message in the trail: outcome, study, and how many instances of which SOP class."""
    told = []
    for line in (data_dir / "audit" / "audit.log").read_bytes().splitlines():
        root = valid_message(line)
        assert coded(root, "EventIdentification/EventID") == [("110107", "DCM", "Import")]
        (study,) = root.iterfind("ParticipantObjectIdentification")
        counts = study.iterfind("ParticipantObjectDescription/SOPClass")
        told.append(
            (
                root[0].findtext("EventOutcomeDescription") or "",
                study.get("ParticipantObjectID"),
                {one.get("UID"): int(one.get("NumberOfInstances")) for one in counts},
            )
        )
    return told


def test_import_is_audited_study_by_study_without_the_name_of_the_folder(tmp_path: Path, data_dir: Path) -> None:
    folder = tmp_path / "DOE^JANE"
    write(folder / "a", axial_series(3))
    other = axial_series(2)
    for image in other:
        image.StudyInstanceUID += ".7"
        image.SOPInstanceUID += ".7"
    write(folder / "b", other)
    (folder / "b" / "0.dcm").write_bytes((folder / "b" / "0.dcm").read_bytes()[:-7])
    assert receive(folder, data_dir).exit_code == 1
    assert sorted(imports(data_dir)) == [
        ("", STUDY_UID, {CTImageStorage: 3}),
        ("1 files not taken", f"{STUDY_UID}.7", {CTImageStorage: 1}),
    ]
    receive(folder / "a", data_dir)
    assert imports(data_dir)[2:] == [("3 files held already", STUDY_UID, {})], "nothing new"
    assert b"DOE" not in (data_dir / "audit" / "audit.log").read_bytes()


def test_preamble_is_not_kept(tmp_path: Path, folder: Path, data_dir: Path) -> None:
    path = folder / "0.dcm"
    path.write_bytes(b"MZ" + b"\x90" * 126 + path.read_bytes()[128:])
    assert receive(folder, data_dir).exit_code == 0
    for stored in map(content, kept_files(data_dir)):
        assert stored[:8] == MAGIC
        assert stored[128:132] == b"DICM"
        assert b"\x90" * 16 not in stored


def test_each_file_that_is_not_taken_is_named_with_its_reason(folder: Path, data_dir: Path) -> None:
    (folder / "empty").write_bytes(b"")
    (folder / "text").write_text("no image " * 100)
    whole = (folder / "0.dcm").read_bytes()
    (folder / "cut").write_bytes(whole[:-7])
    (folder / "cut-head").write_bytes(whole[:200])
    (folder / "syntax").write_bytes(whole.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    for name, changes in {
        "mpeg": {"TransferSyntaxUID": "1.2.840.10008.1.2.4.100"},
        "class": {"MediaStorageSOPClassUID": MediaStorageDirectoryStorage},
        "instance": {"MediaStorageSOPInstanceUID": "1.2.3"},
    }.items():
        image = dcmread(folder / "1.dcm")
        del image.PixelData
        for keyword, value in changes.items():
            setattr(image.file_meta, keyword, value)
        image.save_as(folder / name, enforce_file_format=False)
    (folder / "1.dcm").unlink()
    other = ct_slice(SLICES, (0.0, 0.0, 0.0))
    other.SeriesDescription = "other content"
    write(folder / "late", [other])
    done = receive(folder, data_dir)
    assert done.exit_code == 1
    told = dict(line.split(": ", 1) for line in done.stderr.splitlines())
    reasons = {
        "empty": "not a DICOM file: empty",
        "text": "not a DICOM file: no DICM prefix",
        "cut": "damaged: an element is longer than what encloses it: truncated?",
        "cut-head": "file meta information is damaged",
        "class": "SOP class is not accepted",
        "syntax": "transfer syntax missing or not known",
        "mpeg": "transfer syntax is not accepted",
        "instance": "SOP instance of data set and command differ",
        "late/0.dcm": "this SOP Instance UID holds other content",
    }
    assert {name: told[name] for name in reasons} == reasons
    assert f"{SLICES - 1} of {SLICES + 8} files taken" in done.stdout
    assert held(data_dir) == SLICES - 1


def test_a_file_name_does_not_steer_the_terminal(folder: Path, data_dir: Path) -> None:
    (folder / "a\x1b[2Jb\nc\udcff").write_bytes(b"")
    done = receive(folder, data_dir)
    assert "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}: not" in done.stderr
    assert "Error: 1 file not taken" in done.stderr.splitlines()


def test_deflate_bomb_is_refused(folder: Path, data_dir: Path) -> None:
    import zlib

    image = dcmread(folder / "0.dcm")
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    image.save_as(folder / "0.dcm", enforce_file_format=True)
    file = (folder / "0.dcm").read_bytes()
    head = file[: file.index(b"1.2.840.10008.1.2.1.99") + 22]
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = 144 + int.from_bytes(head[140:144], "little")
    (folder / "0.dcm").write_bytes(file[:start] + bomb.compress(bytes(1 << 28)) + bomb.flush())
    done = receive(folder, data_dir)
    assert "0.dcm: deflated data set unfolds to more than 64 MiB" in done.stderr


def test_full_disk_ends_the_command(tmp_path: Path, folder: Path, data_dir: Path) -> None:
    settings = tmp_path / "node.toml"
    settings.write_text(f"data_dir = '{data_dir}'\n[scp]\nminimum_free_mb = {1 << 40}\n")
    done = CliRunner().invoke(main, ["receive", str(folder), "--config", str(settings)])
    assert done.exit_code == 1
    assert "0 instances taken, then: the disk of the spool is nearly full" in done.output


def test_folder_where_no_node_ever_ran_is_a_mistake(tmp_path: Path, folder: Path) -> None:
    done = receive(folder, tmp_path / "absent")
    assert done.exit_code == 2
    assert "no node has ever run" in done.output
    assert not (tmp_path / "absent").exists()


def test_folder_without_files_is_a_failure(tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "none").mkdir()
    assert receive(tmp_path / "none", data_dir).exit_code == 1


def test_killed_command_leaves_nothing_half_and_can_be_repeated(tmp_path: Path, data_dir: Path) -> None:
    folder, count = tmp_path / "many", 120
    write(folder, axial_series(count))
    command = [sys.executable, "-m", "dicom_node", "receive", str(folder), "--data-dir", str(data_dir)]
    process = subprocess.Popen(command)
    while held(data_dir) < 10:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert 10 <= held(data_dir) < count
    assert receive(folder, data_dir).exit_code == 0
    assert held(data_dir) == count
    assert sorted(listed_files(data_dir), key=str) == sorted(kept_files(data_dir), key=str)


def test_what_a_killed_command_left_without_a_row_is_held(folder: Path, data_dir: Path) -> None:
    other = ct_slice(SLICES, (0.0, 0.0, 0.0))
    other.SeriesDescription = "other content"
    encoded = encode(other, False, True)
    assert encoded is not None
    spool = SegmentSpool(data_dir / "spool")
    writer = spool.begin(
        sop_instance_uid=other.SOPInstanceUID,
        sop_class_uid=other.SOPClassUID,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    writer.write([memoryview(encoded)])
    left = writer.publish(received_at=datetime.now(UTC), calling_ae="folder").file
    spool.close()
    done = receive(folder, data_dir)
    assert done.exit_code == 1
    assert "0.dcm: this SOP Instance UID holds other content" in done.stderr.splitlines()
    assert len(listed_files(data_dir)) == SLICES
    assert left in listed_files(data_dir)


def test_two_commands_at_once_take_everything_once(tmp_path: Path, data_dir: Path) -> None:
    folder, count = tmp_path / "many", 60
    write(folder, axial_series(count))
    command = [sys.executable, "-m", "dicom_node", "receive", str(folder), "--data-dir", str(data_dir)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in running] == [f"{count} of {count} files taken\n"] * 3
    assert len(listed_files(data_dir)) == count
    # What two bring in the same moment may be in the spool twice, and is in the index once.
    contents = [content(file)[128:] for file in kept_files(data_dir)]
    assert len(set(contents)) == count


def test_nobody_sweeps_while_another_stores(tmp_path: Path) -> None:
    node, command = Occupancy(tmp_path), Occupancy(tmp_path)
    with node.alone() as alone:
        assert not alone
    command.close()
    with node.alone() as alone:
        assert alone
        program = f"from dicom_node.spool.occupancy import *; Occupancy(Path('{tmp_path}'))"
        waiting = subprocess.Popen([sys.executable, "-c", program])
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=1.5)
    assert waiting.wait(timeout=20) == 0
    node.close()
