"""The verbs of a spool. What it took it keeps, exactly as it came, until somebody removes it on purpose."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An instance that is durable: it survives a power cut."""

    path: Path
    """Part 10 file (PS3.10)."""
    sha256: str
    """Of the encoded data set, without preamble and file meta information (hex)."""
    size_bytes: int
    """Of the encoded data set."""


class Spool(Protocol):
    """Keeps encoded data sets. Safe to use from several threads."""

    def store(self, *, sop_instance_uid: str, sop_class_uid: str, transfer_syntax_uid: str, encoded: bytes) -> Stored:
        """Make an instance durable. The UID must be free or hold the same bytes.

        Raises ``ResourceExhausted`` when there is no room, ``StorageCorrupt`` when the UID holds other bytes.
        """
        ...

    def sweep(self) -> int:
        """Remove what interrupted ``store`` calls left; only while nothing stores. Returns how many files that was."""
        ...

    def paths(self) -> Iterator[Path]:
        """Everything durable, unread, so that a lost index can be rebuilt."""
        ...

    def describe(self, path: Path) -> Stored:
        """Read a stored file again. Raises ``StorageCorrupt`` where it is damaged."""
        ...
