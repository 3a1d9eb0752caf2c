"""A folder into the spool: one file that cannot be taken is told, and the import goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.association import Intake
from dicom_node.association.folder_intake import ImportedStudy, receive_folder
from dicom_node.index import Index, open_database
from dicom_node.spool import FileSpool
from tests.synthetic_ct import STUDY_UID, axial_series, write


@pytest.fixture
def spool(tmp_path: Path) -> FileSpool:
    return FileSpool(tmp_path / "spool")


@pytest.fixture
def intake(tmp_path: Path, spool: FileSpool) -> Iterator[Intake]:
    engine = open_database(tmp_path / "node.sqlite")
    intake = Intake(spool, Index(engine))
    yield intake
    intake.close()
    engine.dispose()


def test_what_lies_in_the_way_of_one_file_stops_no_other(tmp_path: Path, spool: FileSpool, intake: Intake) -> None:
    write(tmp_path / "files", axial_series(4))
    assert not any(outcome.refusal for outcome in receive_folder(tmp_path / "files", intake))
    damaged, unreadable, *_ = spool.paths()
    damaged.write_bytes(b"short")
    unreadable.unlink()
    unreadable.mkdir()
    refusals = sorted(outcome.refusal for outcome in receive_folder(tmp_path / "files", intake))
    assert refusals[:2] == ["", ""]
    assert refusals[2] == "cannot be stored (Is a directory)"
    assert "is damaged" in refusals[3]


def test_an_import_that_is_given_up_tells_what_it_has_taken(tmp_path: Path, intake: Intake) -> None:
    write(tmp_path / "files", axial_series(4))
    told: list[ImportedStudy] = []
    importing = receive_folder(tmp_path / "files", intake, told=told.append)
    next(importing), next(importing)
    assert told == []
    importing.close()
    (study,) = told
    assert (study.study_uid, study.taken, study.files, study.incomplete) == (STUDY_UID, 2, 4, True)
