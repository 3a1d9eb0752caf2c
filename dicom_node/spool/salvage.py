"""What a segment holds, read back from its bytes alone: after a crash, without an index, or to see if it is intact.

A kill leaves a record without a head, or one that is whole and in the page cache only; it is synchronised before
anybody is told of it. A power cut may leave a head whose data set never reached the disk: its digest tells. Nobody was
told of either, and their senders bring them again.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import structlog
import xxhash

from dicom_node.errors import StorageCorrupt
from dicom_node.records import Part10File, Stored, StoredInstance
from dicom_node.spool.base import Found
from dicom_node.spool.record_head import FAMILY, HEAD_BYTES, RecordHead, decode_head, identity_of
from dicom_node.spool.segment import ALIGNMENT, aligned

log = structlog.get_logger(__name__)

READ_BYTES = 1024 * 1024
STEP_BYTES = 4096
"""Records begin at multiples of it on every machine: the smallest page that there is."""


def found_in(path: Path, identity: bytes, *, start: int, mend: bool, search: bool) -> Iterator[Found]:
    """The intact records of a segment from ``start`` on, synchronised; with ``search`` also those behind damaged heads.

    With ``mend``, while nobody stores, what stands behind the last head is cut off, and a segment without any goes, but
    never what looks like a head: a damaged one, or one of another version of the node. A record that is damaged is
    logged and left where it is: somebody may have been told of it. So is a segment that cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        log.error("segment_unreadable", file=path.name, reason=error.strerror)
        return
    try:
        size = os.fstat(descriptor).st_size
        position = end = aligned(start, STEP_BYTES)
        synchronised = doubtful = False
        while position < size:
            head = _head_at(descriptor, identity, position, size)
            if head is None and (own := aligned(position, ALIGNMENT)) != position:  # pages are larger than a step here
                head = _head_at(descriptor, identity, own, size)
                position = position if head is None else own
            if head is None and search:
                position, head, doubtful = _next_record(descriptor, identity, position, size)
            if head is None:
                break
            digest = _digest(descriptor, position, head)
            if digest == head.digest:
                if not synchronised:
                    os.fdatasync(descriptor)
                    synchronised = True
                yield _found(path, position, head)
            else:
                log.error("record_damaged", file=path.name, position=position)
            position = end = aligned(position + head.size_bytes, STEP_BYTES)
            doubtful = False
        if doubtful:
            log.error("record_damaged", file=path.name, position=end)
        elif mend and size > end:
            log.warning("unfinished_record_removed", file=path.name, size_bytes=size - end)
            os.ftruncate(descriptor, end)
        if mend and end == 0 and not doubtful:
            path.unlink()
    except OSError as error:  # one segment must not keep the node from starting; the next start tries it again
        log.error("segment_unreadable", file=path.name, reason=error.strerror)
    finally:
        os.close(descriptor)


def described(file: Part10File, identity: bytes) -> Stored:
    """See ``Spool.describe``."""
    descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = _head_at(descriptor, identity, file.start, os.fstat(descriptor).st_size)
        if head is None or head.size_bytes != file.size_bytes or _digest(descriptor, file.start, head) != head.digest:
            raise StorageCorrupt(f"segment {file.path.name} is damaged at byte {file.start}")
    finally:
        os.close(descriptor)
    return _found(file.path, file.start, head).stored


def is_intact(instance: StoredInstance) -> bool:
    """Whether its segment still holds what was received; true for a file of a folder, which nobody has digested."""
    if instance.file.size_bytes is None:
        return True
    try:
        return described(instance.file, identity_of(instance.file.path)).digest == instance.digest
    except (OSError, StorageCorrupt):
        return False


def _next_record(descriptor: int, identity: bytes, position: int, size: int) -> tuple[int, RecordHead | None, bool]:
    """The first record behind ``position``; and whether something before it, or before the end, looks like a head but
    cannot be read. To cut that off could be to delete what was acknowledged.

    Not while another process writes: it would find what follows a record that is just being written.
    """
    doubtful = False
    # Read, not mapped: another process may be discarding what it wrote there, and a mapped page that is gone kills.
    for start in range(position, size, READ_BYTES):
        block = os.pread(descriptor, READ_BYTES, start)
        for offset in range(0, len(block), STEP_BYTES):
            if block.startswith(FAMILY, offset):
                head = _head_at(descriptor, identity, start + offset, size)
                if head is not None:
                    return start + offset, head, doubtful
                doubtful = True
    return position, None, doubtful


def _head_at(descriptor: int, identity: bytes, position: int, size: int) -> RecordHead | None:
    head = decode_head(os.pread(descriptor, HEAD_BYTES, position), identity)
    return head if head is not None and position + head.size_bytes <= size else None


def _digest(descriptor: int, position: int, head: RecordHead) -> bytes:
    digest = xxhash.xxh3_128()
    place, stop = position + head.data_set_start, position + head.size_bytes
    while place < stop:
        block = os.pread(descriptor, min(READ_BYTES, stop - place), place)
        if not block:
            break
        digest.update(block)
        place += len(block)
    return digest.digest()


def _found(path: Path, position: int, head: RecordHead) -> Found:
    stored = Stored(
        file=Part10File(path, position, head.size_bytes),
        digest=head.digest.hex(),
        size_bytes=head.size_bytes - head.data_set_start,
    )
    return Found(stored=stored, received_at=head.received_at, calling_ae=head.calling_ae)
