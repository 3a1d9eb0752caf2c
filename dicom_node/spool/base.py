"""The verbs of a spool. What it took it keeps, exactly as it came, until somebody removes it on purpose."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from mmap import mmap
from pathlib import Path
from typing import Protocol

from dicom_node.records import Part10File, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An instance that lies in the spool, with what only its sender's association knew."""

    stored: Stored
    received_at: datetime
    calling_ae: str


class SpoolWriter(Protocol):
    """One instance on its way into the spool. Used by one thread; ends with ``publish`` or ``discard``."""

    @property
    def size_bytes(self) -> int:
        """How much of the data set has been written."""
        ...

    @property
    def first_bytes(self) -> bytes:
        """Of the data set, as far as the writer still has them at hand."""
        ...

    @property
    def digest(self) -> str:
        """Of what has been written (see ``Stored``)."""
        ...

    def write(self, pieces: Sequence[memoryview]) -> None:
        """Append to the data set. The views are void after the call. Raises ``ResourceExhausted``."""
        ...

    def mapped(self) -> AbstractContextManager[tuple[mmap, int]]:
        """What has been written so far, mapped, and where the data set starts in it."""
        ...

    def holds_same(self, stored: Stored) -> bool:
        """Whether what has been written is, byte for byte, what is stored there; also ``False`` where that is damaged.

        Raises ``OSError`` where it cannot be read at all, ``ResourceExhausted`` where that says nothing about the file.
        """
        ...

    def publish(
        self, *, received_at: datetime, calling_ae: str, listed: Callable[[Stored], None] | None = None
    ) -> Stored:
        """Make the instance durable, and give everything back. Raises ``ResourceExhausted`` and ``OSError``.

        ``listed`` is told of it before anything can follow it in its file: so the rows of an index, made in the order
        in which they were told, never leave out what lies before the last one (``Spool.unlisted``).
        """
        ...

    def discard(self) -> None:
        """Leave nothing behind. After ``publish`` nothing happens."""
        ...


class Spool(Protocol):
    """Keeps encoded data sets. Safe to use from several threads."""

    def begin(self, *, sop_instance_uid: str, sop_class_uid: str, transfer_syntax_uid: str) -> SpoolWriter:
        """Begin to take an instance. Raises ``ResourceExhausted`` when there is no room."""
        ...

    def unlisted(self, ends: Mapping[Path, int], *, alone: bool) -> Iterator[Found]:
        """What lies behind the last instance that an index knows: ``ends`` says where in each file that ends.

        With ``alone`` (nobody stores, in any process) what was not finished is removed on the way. Everything found is
        intact and durable.
        """
        ...

    def describe(self, file: Part10File) -> Stored:
        """Read what was published, and digest it. Raises ``StorageCorrupt`` where it is damaged, and ``OSError``."""
        ...

    def close(self) -> None:
        """Give descriptors back; nothing may be taken afterwards."""
        ...
