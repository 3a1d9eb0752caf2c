"""The spool on a real disk: bytes as they came, nothing overwritten, nothing half-written in sight."""

import errno
import os
import threading
from pathlib import Path

import pydicom
import pytest

from dicom_node.errors import ResourceExhausted, StorageCorrupt
from dicom_node.spool import FileSpool, Stored
from dicom_node.uids import IMPLEMENTATION_CLASS_UID

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
DATA_SET = b"\x08\x00\x18\x00UI\x04\x001.2\x00" + b"\x10\x00\x20\x00LO\x04\x00ID 1"


def store(spool: FileSpool, *, uid: str = "1.2", encoded: bytes = DATA_SET) -> Stored:
    writer = spool.begin(sop_instance_uid=uid, sop_class_uid=CT, transfer_syntax_uid=EXPLICIT)
    writer.write([memoryview(encoded[:5]), memoryview(encoded[5:])])
    return spool.describe(writer.publish())


def test_bytes_are_kept_and_the_file_is_part_10(tmp_path: Path) -> None:
    stored = store(FileSpool(tmp_path))
    assert stored.path.read_bytes().endswith(DATA_SET)
    read = pydicom.dcmread(stored.path)
    assert read.file_meta.MediaStorageSOPInstanceUID == "1.2"
    assert read.file_meta.TransferSyntaxUID == EXPLICIT
    assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read.PatientID == "ID 1"


def test_name_is_a_hash_and_cannot_leave_the_folder(tmp_path: Path) -> None:
    stored = store(FileSpool(tmp_path), uid="../../../etc/passwd")
    assert stored.path.resolve().is_relative_to(tmp_path.resolve())


def test_repeat_is_taken_and_describes_equal(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    first = store(spool)
    assert store(spool) == first == spool.describe(first.path)
    assert list(spool.paths()) == [first.path]


def test_other_content_never_overwrites(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    first = store(spool)
    with pytest.raises(StorageCorrupt):
        store(spool, encoded=DATA_SET + b"\x10\x00\x30\x00DA\x00\x00")
    assert first.path.read_bytes().endswith(DATA_SET)
    assert not list(tmp_path.glob("*/*.part"))


def test_sweep_removes_what_was_interrupted(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    kept = store(spool)
    (kept.path.parent / "x.1.part").write_bytes(b"half")
    assert spool.sweep() == 1
    assert list(spool.paths()) == [kept.path]


def test_watermark_refuses_before_writing(tmp_path: Path) -> None:
    with pytest.raises(ResourceExhausted, match="nearly full"):
        store(FileSpool(tmp_path, minimum_free_bytes=1 << 60))
    assert not list(tmp_path.rglob("*.dcm"))


def test_damaged_file_is_told(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    stored = store(spool)
    stored.path.write_bytes(b"short")
    with pytest.raises(StorageCorrupt):
        spool.describe(stored.path)


def test_many_threads_with_one_instance(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    stored: list[Stored] = []
    threads = [threading.Thread(target=lambda: stored.append(store(spool))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(stored)) == 1
    assert len(stored) == 8


class SickDisk:
    """In the place of ``os.fsync``: fails once, then succeeds, as the kernel does with pages that it has given up."""

    def __init__(self, error: int) -> None:
        self.error = error

    def __call__(self, _descriptor: int) -> None:
        if self.error:
            error, self.error = self.error, 0
            raise OSError(error, os.strerror(error))


@pytest.mark.parametrize(("error", "told"), [(errno.EIO, OSError), (errno.ENOSPC, ResourceExhausted)])
def test_what_could_not_be_synchronised_is_not_there_for_a_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, told: type[Exception]
) -> None:
    spool = FileSpool(tmp_path)
    monkeypatch.setattr(os, "fsync", SickDisk(error))
    with pytest.raises(told):
        store(spool)
    assert not [path for path in tmp_path.glob("*/*") if path.is_file()]
    store(spool)
    assert len(list(spool.paths())) == 1


@pytest.mark.parametrize("racing", [False, True])
def test_a_repeat_that_could_not_be_synchronised_is_no_repeat_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, racing: bool
) -> None:
    spool = FileSpool(tmp_path)
    writer = spool.begin(sop_instance_uid="1.2", sop_class_uid=CT, transfer_syntax_uid=EXPLICIT)
    first = store(spool)
    if not racing:
        writer.discard()
        writer = spool.begin(sop_instance_uid="1.2", sop_class_uid=CT, transfer_syntax_uid=EXPLICIT)
    writer.write([memoryview(DATA_SET)])
    monkeypatch.setattr(os, "fsync", SickDisk(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        writer.publish()
    assert not list(spool.paths())
    assert [path.name for path in tmp_path.glob("*/*.damaged")] == [f"{first.path.stem}.damaged"]
    again = store(spool)
    assert again == first


@pytest.mark.parametrize("error", [0, errno.EIO])
def test_a_repeat_of_a_file_that_lost_its_name_is_no_success_and_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    spool = FileSpool(tmp_path)
    first = store(spool)
    writer = spool.begin(sop_instance_uid="1.2", sop_class_uid=CT, transfer_syntax_uid=EXPLICIT)
    writer.write([memoryview(DATA_SET)])
    first.path.unlink()
    assert store(spool) == first, "a new file of that name"
    monkeypatch.setattr(os, "fsync", SickDisk(error))
    with pytest.raises(OSError, match=r"taken away|Input/output"):
        writer.publish()
    assert spool.describe(first.path) == first
    assert not list(tmp_path.glob("*/*.damaged"))


def test_a_temporary_file_that_is_gone_hides_nothing(tmp_path: Path) -> None:
    writer = FileSpool(tmp_path).begin(sop_instance_uid="1.2", sop_class_uid=CT, transfer_syntax_uid=EXPLICIT)
    (temporary,) = tmp_path.glob("*/*.part")
    temporary.unlink()
    writer.discard()
