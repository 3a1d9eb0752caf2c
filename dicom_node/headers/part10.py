"""From a Part 10 file, or from a data set off the wire, to bytes that can be walked.

Owns which encoding a transfer syntax means (PS3.5 annex A), and the bound on what a deflated data set may unfold to.
"""

import mmap
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.errors import InstanceRefused, StoreStatus
from dicom_node.headers.elements import Element, ElementWalk, Encoded, Encoding
from dicom_node.headers.file_meta import read_file_meta
from dicom_node.headers.values import is_valid_uid
from dicom_node.records import Part10File

MAXIMUM_INFLATED_BYTES = 64 * 1024 * 1024
"""Of a deflated data set: any report or single slice, 120 frames of 512². Deflate packs 1000:1, so without a cap a
megabyte is a bomb."""
MAXIMUM_DEFLATED_BYTES = MAXIMUM_INFLATED_BYTES + MAXIMUM_INFLATED_BYTES // 16
"""What does not shrink grows by a few bytes a block; more is blocks that hold nothing."""
INFLATED_AT_ONCE_BYTES = 256 * 1024
"""Of the deflated input, which stays in the map otherwise."""
MAXIMUM_PADDING_BYTES = 8
"""Behind the end of a deflated data set: one NULL at most (PS3.5 section A.5); a few more do no harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedDataSet:
    """A data set as bytes: ``encoded[start:stop]``. Inflated already where the transfer syntax is deflated."""

    encoded: Encoded
    start: int
    stop: int
    """May lie behind the bytes that are at hand (``data_set_from_start``)."""
    encoding: Encoding
    transfer_syntax_uid: str

    def walk(self) -> ElementWalk:
        """A walk over the bytes with a fresh bound."""
        return ElementWalk(self.encoded, self.encoding)

    def find(self, walk: ElementWalk, wanted: frozenset[int], *, to_end: bool = False) -> dict[int, Element]:
        """The wanted top-level elements. Raises ``MalformedDataSet``."""
        return walk.find(wanted, self.start, self.stop, to_end=to_end)


@contextmanager
def open_part10(file: Part10File) -> Iterator[EncodedDataSet]:
    """The data set of a Part 10 file, mapped, not read; positions count from the start of the Part 10 file.

    Raises ``InstanceRefused`` where it is no such file, ``OSError`` where it cannot be opened.
    """
    with file.path.open("rb") as opened:
        there = max(opened.seek(0, os.SEEK_END) - file.start, 0)
        size = there if file.size_bytes is None else file.size_bytes
        if size == 0:
            raise InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, "not a DICOM file: empty")
        if size > there:
            raise InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, "cut off: its end is missing")
        if file.start % mmap.ALLOCATIONGRANULARITY:
            raise InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, "the spool was made on a machine with smaller pages")
        with mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_READ, offset=file.start) as mapped:
            meta = read_file_meta(mapped)
            yield _data_set(mapped, meta.start, meta.transfer_syntax_uid)


def data_set_from_wire(encoded: Encoded, transfer_syntax_uid: str, *, start: int) -> EncodedDataSet:
    """The data set ``encoded[start:]`` as it came in a C-STORE request. Raises ``InstanceRefused``."""
    return _data_set(encoded, start, transfer_syntax_uid)


def data_set_from_start(first: bytes, size_bytes: int, transfer_syntax_uid: str) -> EncodedDataSet | None:
    """The data set of that size that begins with ``first``; ``None`` where it has to be seen whole (it is deflated).

    Who walks it looks out for ``struct.error``: the walk went behind ``first``. Raises ``InstanceRefused``.
    """
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        return None
    return EncodedDataSet(
        encoded=first,
        start=0,
        stop=size_bytes,
        encoding=_encoding(transfer_syntax_uid),
        transfer_syntax_uid=transfer_syntax_uid,
    )


def _data_set(encoded: Encoded, start: int, transfer_syntax_uid: str) -> EncodedDataSet:
    encoding = _encoding(transfer_syntax_uid)
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        encoded, start = _inflated(encoded, start), 0
    return EncodedDataSet(
        encoded=encoded, start=start, stop=len(encoded), encoding=encoding, transfer_syntax_uid=transfer_syntax_uid
    )


@lru_cache(64)
def _encoding(transfer_syntax_uid: str) -> Encoding:
    if not is_valid_uid(transfer_syntax_uid) or not UID(transfer_syntax_uid).is_transfer_syntax:
        raise InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, "transfer syntax missing or not known")
    return Encoding(
        explicit_vr=transfer_syntax_uid != ImplicitVRLittleEndian,
        little_endian=transfer_syntax_uid != ExplicitVRBigEndian,
    )


def _inflated(encoded: Encoded, start: int) -> bytes:
    """Raw deflate (PS3.5 section A.5), slice by slice, with input and result capped."""
    if len(encoded) - start > MAXIMUM_DEFLATED_BYTES:
        raise _deflated("is larger than what unfolds to 64 MiB")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = BytesIO()
    position = start
    while not inflater.eof and position < len(encoded):
        deflated = encoded[position : position + INFLATED_AT_ONCE_BYTES]
        position += len(deflated)
        try:
            inflated.write(inflater.decompress(deflated, MAXIMUM_INFLATED_BYTES + 1 - inflated.tell()))
        except zlib.error as error:
            raise _deflated("is damaged") from error
        if inflated.tell() > MAXIMUM_INFLATED_BYTES:
            raise _deflated("unfolds to more than 64 MiB")
    if not inflater.eof:
        raise _deflated("is truncated")
    if len(inflater.unused_data) + len(encoded) - position > MAXIMUM_PADDING_BYTES:
        raise _deflated("ends before its bytes do")
    return inflated.getvalue()


def _deflated(fault: str) -> InstanceRefused:
    return InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, f"deflated data set {fault}")
