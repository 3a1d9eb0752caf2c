"""The head of a Part 10 file: preamble, prefix and file meta information (PS3.10 section 7.1), written and skipped.

Ours alone: the node reads other people's heads in ``headers``.
"""

import struct
from typing import BinaryIO

from dicom_node.errors import StorageCorrupt
from dicom_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PREAMBLE = bytes(128)
PREFIX = b"DICM"
FILE_META_VERSION = b"\x00\x01"
_GROUP_LENGTH = struct.Struct("<HH2sHI")
"""(0002,0000) UL: group, element, VR, length, value."""


def file_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Everything that stands before the data set."""
    meta = b"".join(
        (
            struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, len(FILE_META_VERSION)) + FILE_META_VERSION,
            _short(0x0002, b"UI", sop_class_uid),
            _short(0x0003, b"UI", sop_instance_uid),
            _short(0x0010, b"UI", transfer_syntax_uid),
            _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _short(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
        )
    )
    return PREAMBLE + PREFIX + _GROUP_LENGTH.pack(0x0002, 0x0000, b"UL", 4, len(meta)) + meta


def data_set_offset(file: BinaryIO) -> int:
    """Where the data set starts in a file that begins with ``file_head``. Raises ``StorageCorrupt``."""
    head = file.read(len(PREAMBLE) + len(PREFIX) + _GROUP_LENGTH.size)
    if len(head) < len(PREAMBLE) + len(PREFIX) + _GROUP_LENGTH.size or head[128:132] != PREFIX:
        raise StorageCorrupt(f"spool file {getattr(file, 'name', '')} is damaged: it does not begin as we wrote it")
    *_, length = _GROUP_LENGTH.unpack(head[132:])
    return len(head) + int(length)


def _short(element: int, representation: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if representation == b"UI" else b" "
    return struct.pack("<HH2sH", 0x0002, element, representation, len(value)) + value
