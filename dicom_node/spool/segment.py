"""An append-only file of the spool, and one instance on its way into it.

A segment holds records, Part 10 files one after the other, each where a page of memory may begin. One writer at a time
appends; what a record in progress has written lies behind the end that counts, and goes again where it is discarded.
"""

import errno
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import structlog
import xxhash

from dicom_node.errors import ResourceExhausted
from dicom_node.records import Part10File, Stored
from dicom_node.spool.part10 import PREAMBLE_BYTES
from dicom_node.spool.record_head import HEAD_BYTES, RecordHead, decode_head, encode_head, identity_of

log = structlog.get_logger(__name__)

ALIGNMENT = mmap.ALLOCATIONGRANULARITY
"""Records begin at multiples of it, so that each can be mapped by itself. The gap before takes no room on the disk.
A spool cannot be read where pages are larger than where it was made."""
ROOM_CHECK_BYTES = 64 * 1024 * 1024
"""Free space is looked at again whenever that much more of an instance has come."""
EARLY_BYTES = 64 * 1024
"""So much, written at once, is on its way to the disk before anybody asks for it to be there."""
FIRST_BYTES = 16 * 1024
"""Kept in memory while an instance arrives: the whole of an image but its pixels, nearly always."""
COMPARE_BYTES = 1024 * 1024
WANT = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that say nothing about a file: the machine lacks room, descriptors or memory."""


class Segment:
    """Open for appending. Whoever holds it is the only one who writes."""

    __slots__ = ("descriptor", "discarded", "end", "identity", "path", "spoiled")

    def __init__(self, path: Path, identity: bytes, descriptor: int) -> None:
        self.path = path
        self.identity = identity
        self.descriptor = descriptor
        self.end = 0
        """Where the next record begins."""
        self.discarded = False
        """Whether the last record was: a PACS that sends a study again brings many of them."""
        self.spoiled = False
        """Nothing may be appended any more: the disk failed."""


class RecordWriter:
    """Implements ``SpoolWriter``. ``give_back`` gets the segment when the record ends, whatever way."""

    def __init__(
        self,
        segment: Segment,
        *,
        meta: bytes,
        give_back: Callable[[Segment], None],
        require_room: Callable[[], None],
        synchronise: bool,
    ) -> None:
        self._segment = segment
        self._meta = meta
        self._give_back = give_back
        self._require_room = require_room
        self._synchronise = synchronise
        self._start = segment.end
        self._data_set_start = PREAMBLE_BYTES + len(meta)
        self._position = self._start + self._data_set_start
        self._digest = xxhash.xxh3_128()
        self._first = bytearray()
        self._check_room_at = self._position + ROOM_CHECK_BYTES
        self._open = True

    @property
    def size_bytes(self) -> int:
        """See ``SpoolWriter``."""
        return self._position - self._start - self._data_set_start

    @property
    def first_bytes(self) -> bytes:
        """See ``SpoolWriter``."""
        return bytes(self._first)

    @property
    def digest(self) -> str:
        """See ``SpoolWriter``."""
        return self._digest.hexdigest()

    def write(self, pieces: Sequence[memoryview]) -> None:
        """See ``SpoolWriter``."""
        for piece in pieces:
            self._digest.update(piece)
            if len(self._first) < FIRST_BYTES:
                self._first += piece[: FIRST_BYTES - len(self._first)]
        try:
            with full_disk_told():
                written = _write_all(self._segment.descriptor, pieces, self._position)
        except OSError:
            self._segment.spoiled = True
            raise
        if self._synchronise and written >= EARLY_BYTES and not self._segment.discarded:
            # Linux begins to write dirty pages back, and drops clean ones alone; sync_file_range, which is made for
            # that, is not in Python. The header is read meanwhile, and fdatasync has less to wait for.
            os.posix_fadvise(self._segment.descriptor, self._position, written, os.POSIX_FADV_DONTNEED)
        self._position += written
        if self._position >= self._check_room_at:
            self._check_room_at = self._position + ROOM_CHECK_BYTES
            self._require_room()

    @contextmanager
    def mapped(self) -> Iterator[tuple[mmap.mmap, int]]:
        """See ``SpoolWriter``."""
        with full_disk_told():
            if not self.size_bytes:  # nothing of the record is in the file yet
                os.ftruncate(self._segment.descriptor, self._position)
            mapped = mmap.mmap(
                self._segment.descriptor, self._position - self._start, access=mmap.ACCESS_READ, offset=self._start
            )
        with mapped:
            yield mapped, self._data_set_start

    def holds_same(self, stored: Stored) -> bool:
        """See ``SpoolWriter``."""
        file = stored.file
        if stored.size_bytes != self.size_bytes or file.size_bytes is None:
            return False
        theirs = file.start + file.size_bytes - stored.size_bytes
        ours = self._start + self._data_set_start
        with full_disk_told():
            held = file.path.open("rb", buffering=0)
        with held:
            head = decode_head(os.pread(held.fileno(), HEAD_BYTES, file.start), identity_of(file.path))
            if head is None or head.size_bytes != file.size_bytes:
                return False
            for done in range(0, self.size_bytes, COMPARE_BYTES):
                count = min(COMPARE_BYTES, self.size_bytes - done)
                if os.pread(held.fileno(), count, theirs + done) != os.pread(
                    self._segment.descriptor, count, ours + done
                ):
                    return False
        return True

    def publish(
        self, *, received_at: datetime, calling_ae: str, listed: Callable[[Stored], None] | None = None
    ) -> Stored:
        """See ``SpoolWriter``."""
        segment, size = self._segment, self._position - self._start
        digest = self._digest.digest()
        head = RecordHead(
            size_bytes=size,
            data_set_start=self._data_set_start,
            digest=digest,
            received_at=received_at,
            calling_ae=calling_ae,
        )
        try:
            with full_disk_told():
                _write_all(
                    segment.descriptor, (encode_head(head, segment.identity, self._meta), self._meta), self._start
                )
                self._make_durable()
            segment.end = aligned(self._position, ALIGNMENT)
            segment.discarded = False
        except BaseException:
            self.discard()
            raise
        stored = Stored(
            file=Part10File(segment.path, self._start, size), digest=digest.hex(), size_bytes=self.size_bytes
        )
        try:
            if listed is not None:
                listed(stored)
        finally:
            self._end()
        return stored

    def discard(self) -> None:
        """See ``SpoolWriter``."""
        if not self._open:
            return
        self._segment.discarded = True
        try:
            os.ftruncate(self._segment.descriptor, self._start)
        except OSError as error:
            # Must not hide what ended the instance; the next start takes away what is left.
            log.warning("record_left", file=self._segment.path.name, reason=error.strerror)
            self._segment.spoiled = True
        self._end()

    def _make_durable(self) -> None:
        """The kernel tells once of pages that it could not write, and calls them clean afterwards: the next fdatasync
        would succeed whatever the disk holds. So nothing is appended to this segment any more."""
        descriptor = self._segment.descriptor
        try:
            if self._synchronise:
                os.fdatasync(descriptor)
            if not os.fstat(descriptor).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "somebody took the file away", self._segment.path.name)
        except OSError:
            self._segment.spoiled = True
            raise

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._give_back(self._segment)


def aligned(position: int, step: int) -> int:
    """The next multiple of ``step``, or ``position`` itself."""
    return -(-position // step) * step


def _write_all(descriptor: int, pieces: Sequence[memoryview | bytes], position: int) -> int:
    """Write the pieces one behind the other, from ``position`` on. Returns how many bytes they have."""
    total = sum(map(len, pieces))
    written = os.pwritev(descriptor, pieces, position) if total else 0
    if written < total:  # a disk that is about to be full, or more than the kernel takes at once
        rest = memoryview(b"".join(pieces))
        while written < total:
            written += os.pwrite(descriptor, rest[written:], position + written)
    return total


@contextmanager
def full_disk_told() -> Iterator[None]:
    """``OSError`` becomes ``ResourceExhausted`` where the machine lacks something (``WANT``)."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted("the disk of the spool is full") from error
        if error.errno in WANT:
            raise ResourceExhausted(f"the spool cannot go on ({error.strerror})") from error
        raise
