"""The verbs of a spool. What it took it keeps, exactly as it came, until somebody removes it on purpose."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a published file holds."""

    path: Path
    """Part 10 file (PS3.10)."""
    sha256: str
    """Of the encoded data set, without preamble and file meta information (hex)."""
    size_bytes: int
    """Of the encoded data set."""


class SpoolWriter(Protocol):
    """One instance on its way into the spool. Used by one thread; ends with ``publish`` or ``discard``."""

    @property
    def size_bytes(self) -> int:
        """How much of the data set has been written."""
        ...

    def write(self, pieces: Sequence[memoryview]) -> None:
        """Append to the data set. The views are void after the call. Raises ``ResourceExhausted``."""
        ...

    def mapped(self) -> AbstractContextManager[tuple[mmap, int]]:
        """What has been written so far, as a mapped Part 10 file, and where the data set starts in it."""
        ...

    def publish(self) -> Path:
        """Make the instance durable, and give everything back. Returns its Part 10 file.

        Raises ``ResourceExhausted``, or ``StorageCorrupt`` where its UID holds other bytes, which stay as they are.
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

    def sweep(self) -> int:
        """Remove what was not finished; only while nothing stores. Returns how many files that was."""
        ...

    def paths(self) -> Iterator[Path]:
        """Everything published, unread, so that a lost index can be rebuilt."""
        ...

    def describe(self, path: Path) -> Stored:
        """Read a published file, and digest it. Raises ``StorageCorrupt`` where it is damaged."""
        ...

    def set_aside(self, path: Path) -> Path:
        """Take a damaged file out of the way, so that its instance can be received again. Returns its new name."""
        ...

    def synchronise(self, path: Path) -> None:
        """Make sure that a published file is durable. Raises ``OSError``, and sets it aside, where it cannot be."""
        ...
