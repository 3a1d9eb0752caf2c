"""A folder of Part 10 files into the spool, as if a modality had sent them.

Study by study, whatever the layout of the folder: the instances of one study arrive in one go, so that none of them
comes late to a study that was complete already.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.association.file_intake import ArrivingFile
from dicom_node.association.intake import Intake
from dicom_node.association.requests import Brought
from dicom_node.errors import InstanceRefused, StorageCorrupt, StoreStatus
from dicom_node.headers import read_instance_facts
from dicom_node.records import Part10File

SOURCE = "folder"
"""Stands in the index where instances from the network have the calling AE title."""
READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """What became of one file."""

    path: Path
    refusal: str
    """Why it was not taken; empty where it was."""


@dataclass(slots=True, kw_only=True)
class ImportedStudy:
    """What came of the files of one study."""

    study_uid: str
    files: int
    brought: Brought = field(default_factory=Brought)

    @property
    def taken(self) -> int:
        """Files whose instances are durable."""
        return self.brought.new.total() + self.brought.repeats.total()

    @property
    def not_taken(self) -> int:
        """Files that were refused, or that the import did not come to."""
        return self.files - self.taken


def receive_folder(
    folder: Path, intake: Intake, *, told: Callable[[ImportedStudy], None] = lambda _study: None
) -> Iterator[FileOutcome]:
    """Offer every file below ``folder`` to the intake; an outcome is yielded when its instance is durable.

    ``told`` hears of each study when it is through, or when the import ends in the middle of it.
    Raises ``ResourceExhausted`` where the disk is full: what was yielded before is kept.
    """
    studies: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            with _readable():
                studies.setdefault(read_instance_facts(Part10File(path)).study_uid, []).append(path)
        except InstanceRefused as refusal:
            yield FileOutcome(path=path, refusal=str(refusal))
    for study_uid, paths in studies.items():
        study = ImportedStudy(study_uid=study_uid, files=len(paths))
        try:
            for path in paths:
                yield FileOutcome(path=path, refusal=_take(path, intake, study))
        finally:
            told(study)


def _take(path: Path, intake: Intake, study: ImportedStudy) -> str:
    """Why the file was not taken; empty where it was."""
    arriving = ArrivingFile(intake, source=SOURCE)
    try:
        for block in _blocks(path):
            arriving.write(block)
        facts = arriving.finish()
    except (InstanceRefused, StorageCorrupt) as refusal:
        return str(refusal)
    except OSError as error:
        return f"cannot be stored ({error.strerror})"
    finally:
        arriving.discard()
    study.brought.note(facts.sop_class_uid, new=arriving.is_new)
    return ""


def _blocks(path: Path) -> Iterator[bytes]:
    with _readable(), path.open("rb") as file:
        while block := file.read(READ_BYTES):
            yield block


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, f"cannot be read ({error.strerror})") from error
