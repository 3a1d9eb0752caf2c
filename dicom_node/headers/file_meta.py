"""The head of a Part 10 file that somebody else wrote: preamble, prefix, file meta information (PS3.10 section 7.1).

Read, never kept: a preamble may hold a program (CVE-2019-11687), so what is stored gets a head of our own
(``spool.part10``).
"""

from dataclasses import dataclass

from dicom_node.errors import InstanceRefused, StoreStatus
from dicom_node.headers.elements import ElementWalk, Encoded, Encoding, MalformedDataSet
from dicom_node.headers.values import Values

_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_PREFIX_END = _PREAMBLE_BYTES + len(_PREFIX)
_GROUP_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
"""Tag, value representation and length of (0002,0000), whose value follows."""
_GROUP_LENGTH_END = _PREFIX_END + len(_GROUP_LENGTH) + 4
_SOP_CLASS_UID = 0x00020002
_SOP_INSTANCE_UID = 0x00020003
_TRANSFER_SYNTAX_UID = 0x00020010
_WANTED = frozenset({_SOP_CLASS_UID, _SOP_INSTANCE_UID, _TRANSFER_SYNTAX_UID})


MAXIMUM_HEAD_BYTES = 64 * 1024
"""Of preamble and file meta information: a real one has a few hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What file meta information says of the data set behind it. A UID is empty where it is missing or not valid."""

    start: int
    """Where the data set starts, in bytes from the start of the file."""
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def head_length(start_of_file: Encoded | bytearray) -> int | None:
    """How many bytes stand before the data set; ``None`` while too few bytes are there to say.

    Raises ``InstanceRefused`` where this is no Part 10 file, or its head is longer than any.
    """
    if len(start_of_file) < _GROUP_LENGTH_END:
        return None
    if start_of_file[_PREAMBLE_BYTES:_PREFIX_END] != _PREFIX:
        raise InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, "not a DICOM file: no DICM prefix")
    if start_of_file[_PREFIX_END : _PREFIX_END + len(_GROUP_LENGTH)] != _GROUP_LENGTH:
        raise _damaged()
    length = int.from_bytes(start_of_file[_PREFIX_END + len(_GROUP_LENGTH) : _GROUP_LENGTH_END], "little")
    if _GROUP_LENGTH_END + length > MAXIMUM_HEAD_BYTES:
        raise _damaged()
    return _GROUP_LENGTH_END + length


def read_file_meta(file: Encoded) -> FileMeta:
    """The head of a Part 10 file, with or without the data set behind it. Raises ``InstanceRefused``."""
    start = head_length(file)
    if start is None:
        raise InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, "not a DICOM file: too short")
    if start > len(file):
        raise _damaged()
    walk = ElementWalk(file, Encoding())
    try:
        values = Values(walk, walk.find(_WANTED, _PREFIX_END, start))
    except MalformedDataSet as error:
        raise _damaged() from error
    return FileMeta(
        start=start,
        sop_class_uid=values.uid(_SOP_CLASS_UID),
        sop_instance_uid=values.uid(_SOP_INSTANCE_UID),
        transfer_syntax_uid=values.uid(_TRANSFER_SYNTAX_UID),
    )


def _damaged() -> InstanceRefused:
    return InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, "file meta information is damaged")
