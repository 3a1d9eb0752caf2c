"""The file meta information that the spool writes before each data set (PS3.10 section 7.1).

The preamble before it is the spool's own (``record_head``). Other people's heads are read in ``headers``.
"""

import struct
from functools import lru_cache

from dicom_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PREAMBLE_BYTES = 128
PREFIX = b"DICM"
FILE_META_VERSION = b"\x00\x01"
_GROUP_LENGTH = struct.Struct("<HH2sHI")
"""(0002,0000) UL: group, element, VR, length, value."""


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Everything that stands between the preamble and the data set."""
    before, after = _of_all(sop_class_uid, transfer_syntax_uid)
    meta = before + _short(0x0003, b"UI", sop_instance_uid) + after
    return PREFIX + _GROUP_LENGTH.pack(0x0002, 0x0000, b"UL", 4, len(meta)) + meta


@lru_cache(256)
def _of_all(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    """What stands before and after the SOP Instance UID, in all instances of a class and transfer syntax."""
    version = struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, len(FILE_META_VERSION)) + FILE_META_VERSION
    return (
        version + _short(0x0002, b"UI", sop_class_uid),
        _short(0x0010, b"UI", transfer_syntax_uid)
        + _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID)
        + _short(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
    )


def _short(element: int, representation: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if representation == b"UI" else b" "
    return struct.pack("<HH2sH", 0x0002, element, representation, len(value)) + value
