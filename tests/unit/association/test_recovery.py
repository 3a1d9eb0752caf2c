"""The rows that a crash, a moved data folder or a sick disk left out."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.association.recovery import index_unlisted
from dicom_node.index import Index, open_database
from dicom_node.spool import FileSpool
from tests.dimse.conftest import encoded_slice, slice_uid

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_database(tmp_path / "node.sqlite")
    yield engine
    engine.dispose()


def stored(spool: FileSpool, number: int) -> Path:
    writer = spool.begin(sop_instance_uid=slice_uid(number), sop_class_uid=CT, transfer_syntax_uid=EXPLICIT)
    writer.write([memoryview(encoded_slice(number))])
    return writer.publish()


def test_a_file_that_cannot_be_read_keeps_no_other_from_its_row(tmp_path: Path, database: sa.Engine) -> None:
    spool = FileSpool(tmp_path / "spool")
    path = stored(spool, 1)
    unreadable = path.parent / "unreadable.dcm"
    unreadable.mkdir()
    (tmp_path / "spool" / "00" / "unreadable.dcm").mkdir()
    index = Index(database)
    assert index_unlisted(spool, index) == 1
    assert index.known_paths() == {path}
    assert unreadable.is_dir(), "not set aside: it may be readable at the next start"


def test_what_is_in_the_page_cache_only_gets_no_row(
    tmp_path: Path, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = FileSpool(tmp_path / "spool")
    path = stored(spool, 1)

    def fsync(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as sick:
        sick.setattr(os, "fsync", fsync)
        assert index_unlisted(spool, Index(database)) == 0
    assert not list(spool.paths())
    assert stored(spool, 1) == path


def test_rows_follow_a_data_folder_that_was_moved(tmp_path: Path, database: sa.Engine) -> None:
    index, before = Index(database), FileSpool(tmp_path / "before")
    stored(before, 1)
    index_unlisted(before, index)
    shutil.move(tmp_path / "before", tmp_path / "after")
    after = FileSpool(tmp_path / "after")
    index_unlisted(after, index)
    row = index.find_instance(slice_uid(1))
    assert row is not None
    assert [row.path] == list(after.paths())
    (progress,) = index.receiving()
    assert progress.generation == 1
