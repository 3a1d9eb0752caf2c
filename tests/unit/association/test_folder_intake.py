"""A folder into the spool: one file that cannot be taken is told, and the import goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.association import Intake
from dicom_node.association.folder_intake import ImportedStudy, receive_folder
from dicom_node.index import Index, open_database
from dicom_node.records import Part10File
from dicom_node.spool import SegmentSpool
from tests.spool_contents import stored_files
from tests.synthetic_ct import STUDY_UID, axial_series, write


@pytest.fixture
def spool(tmp_path: Path) -> SegmentSpool:
    return SegmentSpool(tmp_path / "spool")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    engine = open_database(tmp_path / "node.sqlite")
    yield Index(engine)
    engine.dispose()


@pytest.fixture
def intake(spool: SegmentSpool, index: Index) -> Iterator[Intake]:
    intake = Intake(spool, index)
    yield intake
    intake.close()


@pytest.fixture
def folder(tmp_path: Path, intake: Intake) -> Path:
    """Of four files, which have been taken."""
    write(tmp_path / "files", axial_series(4))
    assert refusals(tmp_path / "files", intake) == [""] * 4
    intake.flush()
    return tmp_path / "files"


def refusals(folder: Path, intake: Intake) -> list[str]:
    return [outcome.refusal for outcome in receive_folder(folder, intake)]


def rows(index: Index) -> set[Part10File]:
    """Where the index says that the instances lie."""
    (progress,) = index.receiving()
    (series,) = index.series_of_study(progress.study_uid, generation=progress.generation)
    return {instance.file for instance in series.instances}


def test_what_stops_one_file_stops_no_other(folder: Path, spool: SegmentSpool, index: Index, intake: Intake) -> None:
    (segment,) = {file.path for file in stored_files(spool)}
    segment.unlink()
    segment.mkdir()
    assert refusals(folder, intake) == ["cannot be stored (somebody took the file away)", "", "", ""]
    assert refusals(folder, intake) == [""] * 4
    intake.flush()
    assert len(rows(index)) == 4
    assert rows(index) == set(stored_files(spool))


def test_what_was_damaged_is_replaced(folder: Path, spool: SegmentSpool, index: Index, intake: Intake) -> None:
    damaged, *others = stored_files(spool)
    assert damaged.size_bytes is not None
    with damaged.path.open("r+b") as segment:
        segment.seek(damaged.start + damaged.size_bytes - 2)
        segment.write(b"\xff")
    assert refusals(folder, intake) == [""] * 4
    intake.flush()
    assert set(others) < rows(index) == set(stored_files(spool))
    assert damaged not in rows(index)


def test_an_import_that_is_given_up_tells_what_it_has_taken(tmp_path: Path, intake: Intake) -> None:
    write(tmp_path / "files", axial_series(4))
    told: list[ImportedStudy] = []
    importing = receive_folder(tmp_path / "files", intake, told=told.append)
    next(importing), next(importing)
    assert told == []
    importing.close()
    (study,) = told
    assert (study.study_uid, study.taken, study.not_taken) == (STUDY_UID, 2, 2)
