"""What the spool notes in the preamble of each Part 10 file that it writes (PS3.10 section 7.1 leaves 128 bytes to us).

A record is a Part 10 file inside a segment. Its head is written last, when length and digest are known, so a record
without a valid one was never finished, and one whose bytes do not fit its digest never became durable. Its checksum is
also that of the file meta information, without which nobody could read the data set. The identity of the segment, which
no peer ever sees, stands in it: bytes of a data set cannot pass for a record.
"""

import struct
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.spool.part10 import PREAMBLE_BYTES

FAMILY = b"DCMNODE"
"""Heads of every version begin with it."""
MAGIC = FAMILY + b"1"
IDENTITY_BYTES = 16
_AE_BYTES = 16
_FIELDS = struct.Struct("<8s16sQI16sd16s")
"""Magic, identity of the segment, length of the Part 10 file, start of the data set, digest, time, calling AE title."""
_CHECKSUM = struct.Struct("<I")
HEAD_BYTES = 4096
"""Of a record, read at once: preamble and file meta information have a few hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordHead:
    """One record."""

    size_bytes: int
    """Of the Part 10 file, preamble included."""
    data_set_start: int
    """In bytes from the start of the Part 10 file."""
    digest: bytes
    """XXH3, 128 bits, of the data set."""
    received_at: datetime
    calling_ae: str


def identity_of(segment: Path) -> bytes:
    """It is its name."""
    return bytes.fromhex(segment.stem)


def encode_head(head: RecordHead, identity: bytes, meta: bytes) -> bytes:
    """The preamble of a record in the segment of that identity; the file meta information follows it."""
    fields = _FIELDS.pack(
        MAGIC,
        identity,
        head.size_bytes,
        head.data_set_start,
        head.digest,
        head.received_at.timestamp(),
        head.calling_ae.encode("ascii", "replace")[:_AE_BYTES],
    )
    return (fields + _CHECKSUM.pack(zlib.crc32(meta, zlib.crc32(fields)))).ljust(PREAMBLE_BYTES, b"\0")


def decode_head(first: bytes, identity: bytes) -> RecordHead | None:
    """``None`` where no record of that segment begins with these bytes, ``HEAD_BYTES`` of it where it has so many."""
    if len(first) < PREAMBLE_BYTES or not first.startswith(MAGIC + identity):
        return None
    _, _, size, data_set_start, digest, received_at, calling_ae = _FIELDS.unpack_from(first)
    if not PREAMBLE_BYTES < data_set_start <= min(size, len(first)):
        return None
    checksum = zlib.crc32(first[PREAMBLE_BYTES:data_set_start], zlib.crc32(first[: _FIELDS.size]))
    if _CHECKSUM.unpack_from(first, _FIELDS.size) != (checksum,):
        return None
    return RecordHead(
        size_bytes=size,
        data_set_start=data_set_start,
        digest=digest,
        received_at=datetime.fromtimestamp(received_at, UTC),
        calling_ae=calling_ae.rstrip(b"\0").decode("ascii"),
    )
