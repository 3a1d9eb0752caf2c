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
_GROUP_LENGTH = 0x00020000
_SOP_CLASS_UID = 0x00020002
_SOP_INSTANCE_UID = 0x00020003
_TRANSFER_SYNTAX_UID = 0x00020010


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What file meta information says of the data set behind it. A UID is empty where it is missing or not valid."""

    start: int
    """Where the data set starts, in bytes from the start of the file."""
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def read_file_meta(file: Encoded) -> FileMeta:
    """The head of a whole Part 10 file. Raises ``InstanceRefused``."""
    first = _PREAMBLE_BYTES + len(_PREFIX)
    if len(file) < first:
        raise InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, "not a DICOM file: too short")
    if file[_PREAMBLE_BYTES:first] != _PREFIX:
        raise InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, "not a DICOM file: no DICM prefix")
    walk = ElementWalk(file, Encoding())
    try:
        length = walk.find({_GROUP_LENGTH}, first, min(first + 12, len(file))).get(_GROUP_LENGTH)
        if length is None or length.vr != "UL" or length.stop - length.start != 4:
            raise MalformedDataSet("no group length")
        start = length.stop + int.from_bytes(file[length.start : length.stop], "little")
        if start > len(file):
            raise MalformedDataSet("truncated")
        wanted = {_SOP_CLASS_UID, _SOP_INSTANCE_UID, _TRANSFER_SYNTAX_UID}
        values = Values(walk, walk.find(wanted, first, start))
    except MalformedDataSet as error:
        raise InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, "file meta information is damaged") from error
    return FileMeta(
        start=start,
        sop_class_uid=values.uid(_SOP_CLASS_UID),
        sop_instance_uid=values.uid(_SOP_INSTANCE_UID),
        transfer_syntax_uid=values.uid(_TRANSFER_SYNTAX_UID),
    )
