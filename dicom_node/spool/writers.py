"""One instance on its way into ``files.FileSpool``: a new file, or bytes that are held against a file that is there."""

import errno
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from dicom_node.errors import ResourceExhausted, StorageCorrupt
from dicom_node.spool.durability import is_named, synchronise
from dicom_node.spool.part10 import data_set_offset

log = structlog.get_logger(__name__)

TEMPORARY = ".part"
ROOM_CHECK_BYTES = 64 * 1024 * 1024
"""Free space is looked at again whenever that much more of an instance has come."""
COMPARE_BYTES = 1024 * 1024
_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = -1


class NewFile:
    """Implements ``SpoolWriter`` for an instance that the spool does not have yet."""

    def __init__(
        self, path: str, temporary: str, *, head: bytes, require_room: Callable[[], None], synchronise: bool
    ) -> None:
        self._path = path
        self._temporary = temporary
        self._head = head
        self._require_room = require_room
        self._synchronise = synchronise
        self._head_written = False
        self._size = 0
        self._check_room_at = ROOM_CHECK_BYTES
        with _full_disk_told():
            self._descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)

    @property
    def size_bytes(self) -> int:
        """See ``SpoolWriter``."""
        return self._size

    def write(self, pieces: Sequence[memoryview]) -> None:
        """See ``SpoolWriter``."""
        with _full_disk_told():
            self._append(pieces)
        self._size += sum(map(len, pieces))
        if self._size >= self._check_room_at:
            self._check_room_at = self._size + ROOM_CHECK_BYTES
            self._require_room()

    @contextmanager
    def mapped(self) -> Iterator[tuple[mmap.mmap, int]]:
        """See ``SpoolWriter``."""
        self._append(())
        with mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped, len(self._head)

    def publish(self) -> Path:
        """See ``SpoolWriter``."""
        path = Path(self._path)
        try:
            with _full_disk_told():
                self._append(())
                os.link(self._temporary, self._path)
                self._make_durable()
        except FileExistsError:
            # Another association was faster. What is in that file counts; it may not be durable yet.
            _require_same(self._descriptor, len(self._head), path)
        finally:
            self.discard()
        return path

    def discard(self) -> None:
        """See ``SpoolWriter``."""
        if self._descriptor != _CLOSED:
            os.close(self._descriptor)
            self._descriptor = _CLOSED
            try:
                os.unlink(self._temporary)  # noqa: PTH108 - once for every instance
            except OSError as error:
                # Must not hide what ended the instance; the sweep of the next start takes the file.
                log.warning("temporary_file_left", file=Path(self._temporary).name, reason=error.strerror)

    def _make_durable(self) -> None:
        """What was linked. Where that fails its name goes again: a retry must find nothing (see ``durability``)."""
        try:
            if self._synchronise:
                os.fsync(self._descriptor)
        except OSError:
            if is_named(self._descriptor, Path(self._path)):
                os.unlink(self._path)  # noqa: PTH108 - a string
            raise

    def _append(self, pieces: Sequence[memoryview]) -> None:
        """With the head before the first of them."""
        if not self._head_written:
            pieces = [memoryview(self._head), *pieces]
            self._head_written = True
        total = sum(map(len, pieces))
        if not total:
            return
        written = os.writev(self._descriptor, pieces)
        if written < total:  # a disk that is about to be full, or more than the kernel takes at once
            rest = b"".join(pieces)
            while written < total:
                written += os.write(self._descriptor, rest[written:])


class RepeatedFile:
    """Implements ``SpoolWriter`` for an instance that the spool has: nothing is written, the bytes must be the same."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._same = True
        self._size = 0
        self._file = path.open("rb")
        try:
            self._start = data_set_offset(self._file)
        except (OSError, StorageCorrupt):
            self._file.close()
            raise
        self._file.seek(self._start)

    @property
    def size_bytes(self) -> int:
        """See ``SpoolWriter``."""
        return self._size

    def write(self, pieces: Sequence[memoryview]) -> None:
        """See ``SpoolWriter``; here: compare."""
        for piece in pieces:
            self._size += len(piece)
            self._same = self._same and self._file.read(len(piece)) == piece

    @contextmanager
    def mapped(self) -> Iterator[tuple[mmap.mmap, int]]:
        """See ``SpoolWriter``; here: the file that is there, where the bytes are its own."""
        self._require_same()
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped, self._start

    def publish(self) -> Path:
        """See ``SpoolWriter``."""
        try:
            self._require_same()
            with _full_disk_told():  # whoever brought it first may still be waiting for that
                synchronise(self._file.fileno(), self._path)
        finally:
            self.discard()
        return self._path

    def discard(self) -> None:
        """See ``SpoolWriter``."""
        self._file.close()

    def _require_same(self) -> None:
        if not self._same or self._start + self._size != os.fstat(self._file.fileno()).st_size:
            raise _other_content(self._path)


def _require_same(descriptor: int, start: int, path: Path) -> None:
    """Hold what was received against the file that has its name by now, and make that durable."""
    with path.open("rb") as held, os.fdopen(os.dup(descriptor), "rb") as received:
        held.seek(data_set_offset(held))
        received.seek(start)
        while block := received.read(COMPARE_BYTES):
            if held.read(len(block)) != block:
                raise _other_content(path)
        if held.read(1):
            raise _other_content(path)
        with _full_disk_told():
            synchronise(held.fileno(), path)


def _other_content(path: Path) -> StorageCorrupt:
    return StorageCorrupt(f"spool file {path.name} holds other content than the instance that now has its UID")


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_ERRORS:
            raise ResourceExhausted("the disk of the spool is full") from error
        raise
