"""The rows that a crash, a moved data folder or a sick disk left out."""

import errno
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.association.recovery import index_unlisted
from dicom_node.index import Index, open_database
from dicom_node.index.tables import instances
from dicom_node.records import Part10File
from dicom_node.spool import SegmentSpool
from dicom_node.spool.segments import SUFFIX
from tests.dimse.conftest import encoded_slice, slice_uid
from tests.spool_contents import stored_files

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
AT = datetime(2026, 5, 4, 3, 2, 1, 500_000, UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_database(tmp_path / "node.sqlite")
    yield engine
    engine.dispose()


def stored(spool: SegmentSpool, number: int, *, calling_ae: str = "CT1") -> Part10File:
    writer = spool.begin(sop_instance_uid=slice_uid(number), sop_class_uid=CT, transfer_syntax_uid=EXPLICIT)
    writer.write([memoryview(encoded_slice(number))])
    return writer.publish(received_at=AT, calling_ae=calling_ae).file


def listed(index: Index, number: int) -> Part10File | None:
    """Where the index says that it lies."""
    row = index.find_instance(slice_uid(number))
    return None if row is None else row.file


def test_a_segment_that_cannot_be_read_keeps_no_other_from_its_row(tmp_path: Path, database: sa.Engine) -> None:
    spool = SegmentSpool(tmp_path / "spool")
    file = stored(spool, 1)
    unreadable = [tmp_path / "spool" / f"{byte * 16}{SUFFIX}" for byte in ("00", "ff")]
    for folder in unreadable:
        folder.mkdir()
    index = Index(database)
    assert index_unlisted(spool, index, alone=True) == 1
    assert listed(index, 1) == file
    assert all(folder.is_dir() for folder in unreadable), "left as it is: it may be readable at the next start"


def test_a_record_that_is_no_instance_keeps_no_other_from_its_row(tmp_path: Path, database: sa.Engine) -> None:
    spool, index = SegmentSpool(tmp_path / "spool"), Index(database)
    writer = spool.begin(sop_instance_uid="1.2.3", sop_class_uid=CT, transfer_syntax_uid=EXPLICIT)
    writer.write([memoryview(b"noise" * 99)])
    writer.publish(received_at=AT, calling_ae="CT1")
    file = stored(spool, 1)
    assert index_unlisted(spool, index, alone=True) == 1
    assert listed(index, 1) == file


def test_what_is_in_the_page_cache_only_gets_no_row(
    tmp_path: Path, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, index = SegmentSpool(tmp_path / "spool"), Index(database)
    file = stored(spool, 1)

    def fdatasync(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as sick:
        sick.setattr(os, "fdatasync", fdatasync)
        assert index_unlisted(spool, index, alone=True) == 0
    assert listed(index, 1) is None
    assert file.path.exists(), "left as it is"


def test_what_is_found_is_synchronised_before_it_gets_a_row(
    tmp_path: Path, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, index = SegmentSpool(tmp_path / "spool"), Index(database)
    file = stored(spool, 1)
    synchronised: list[Path] = []

    def fdatasync(descriptor: int) -> None:
        assert listed(index, 1) is None
        synchronised.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    assert index_unlisted(spool, index, alone=True) == 1
    assert synchronised == [file.path]


def test_calling_ae_and_time_are_those_of_the_association(tmp_path: Path, database: sa.Engine) -> None:
    spool, index = SegmentSpool(tmp_path / "spool"), Index(database)
    for number, calling_ae in enumerate(("CT1", "PET CT 2", "SIXTEEN_LETTERS_")):
        stored(spool, number, calling_ae=calling_ae)
    assert index_unlisted(spool, index, alone=True) == 3
    with database.connect() as connection:
        rows = connection.execute(sa.select(instances.c.calling_ae, instances.c.received_at)).all()
    assert sorted(tuple(row) for row in rows) == [
        ("CT1", AT.timestamp()),
        ("PET CT 2", AT.timestamp()),
        ("SIXTEEN_LETTERS_", AT.timestamp()),
    ]


def test_rows_follow_a_data_folder_that_was_moved(tmp_path: Path, database: sa.Engine) -> None:
    index, before = Index(database), SegmentSpool(tmp_path / "before")
    stored(before, 1)
    index_unlisted(before, index, alone=True)
    before.close()
    shutil.move(tmp_path / "before", tmp_path / "after")
    after = SegmentSpool(tmp_path / "after")
    index_unlisted(after, index, alone=True)
    file = listed(index, 1)
    assert [file] == stored_files(after)
    assert file is not None
    assert file.path.is_relative_to(tmp_path / "after")
    (progress,) = index.receiving()
    assert progress.generation == 1


def test_what_two_processes_took_keeps_its_row_until_that_place_is_damaged(tmp_path: Path, database: sa.Engine) -> None:
    index = Index(database)
    files = [stored(SegmentSpool(tmp_path / "spool"), 1) for _ in range(2)]
    spool = SegmentSpool(tmp_path / "spool")
    assert index_unlisted(spool, index, alone=True) == 2
    first = listed(index, 1)
    assert first in files
    for _ in range(2):
        assert index_unlisted(spool, index, alone=True) == 0
        assert listed(index, 1) == first
    with first.path.open("r+b") as segment:
        segment.seek(first.start + 400)
        segment.write(b"damage")
    assert index_unlisted(spool, index, alone=True) == 1
    assert listed(index, 1) == next(file for file in files if file != first)
