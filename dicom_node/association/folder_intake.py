"""A folder of Part 10 files into the spool, as if a modality had sent them.

Study by study, whatever the layout of the folder: the instances of one study arrive in one go, so that none of them
comes late to a study that was complete already.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from dicom_node.association.file_intake import ArrivingFile
from dicom_node.association.intake import Intake
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


def receive_folder(folder: Path, intake: Intake) -> Iterator[FileOutcome]:
    """Offer every file below ``folder`` to the intake; an outcome is yielded when its instance is durable.

    Raises ``ResourceExhausted`` where the disk is full: what was yielded before is kept.
    """
    studies: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            with _readable():
                studies.setdefault(read_instance_facts(Part10File(path)).study_uid, []).append(path)
        except InstanceRefused as refusal:
            yield FileOutcome(path=path, refusal=str(refusal))
    for path in chain.from_iterable(studies.values()):
        arriving = ArrivingFile(intake, source=SOURCE)
        try:
            for block in _blocks(path):
                arriving.write(block)
            arriving.finish()
        except (InstanceRefused, StorageCorrupt) as refusal:
            yield FileOutcome(path=path, refusal=str(refusal))
        except OSError as error:
            yield FileOutcome(path=path, refusal=f"cannot be stored ({error.strerror})")
        else:
            yield FileOutcome(path=path, refusal="")
        finally:
            arriving.discard()


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
