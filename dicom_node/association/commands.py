"""DIMSE command sets: those that we receive, decoded, and our responses, encoded (PS3.7 section 6.3.1, annex E).

A command set is Implicit VR Little Endian and has group 0000 only; ours to read are a dozen of its elements. Bounded by
the caller; faults are ``ProtocolFault`` with our words.
"""

import re
import struct
from dataclasses import dataclass
from enum import IntEnum

from dicom_node.association.pdus import HEAD
from dicom_node.association.upper_layer import AbortReason, PduKind, ProtocolFault

NO_DATA_SET = 0x0101
"""Command Data Set Type (0000,0800): null; everything else says that a data set follows."""
RESPONSE = 0x8000
"""Bit that makes a response of a request's Command Field (0000,0100)."""
COMMENT_CHARACTERS = 64
"""Error Comment (0000,0902) is LO: at most 64 characters."""
MAXIMUM_UID_BYTES = 64

_ELEMENT = struct.Struct("<HHI")
_PDV = struct.Struct(">IBB")
_COMMAND_FRAGMENT, _LAST_FRAGMENT = 0x01, 0x02
"""Bits of the message control header (PS3.8 annex E.2)."""
_SHORTEST_PDU = 64
"""Bytes in a PDU of ours, at least, whatever smaller maximum a peer claims: a command set is then a dozen of them."""
_VALUE_BYTES = {0x0002: 0, 0x0003: 0, 0x0100: 2, 0x0110: 2, 0x0120: 2, 0x0800: 2, 0x1000: 0, 0x1001: 0, 0x1008: 2}
"""The elements of group 0000 that are read, and the length of their values where it is fixed."""
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class CommandField(IntEnum):
    """Command Field (0000,0100) of the requests that an acceptor of storage meets (PS3.7 table E.1-1)."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF
    N_ACTION_RQ = 0x0130


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A request. A UID is empty where it is missing; one that came too long is cut one character behind the limit."""

    field: int
    message_id: int | None
    class_uid: str
    """Affected (0000,0002), or else Requested SOP Class UID (0000,0003)."""
    instance_uid: str
    """Affected (0000,1000), or else Requested SOP Instance UID (0000,1001)."""
    action_type: int | None
    has_data_set: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status (0000,0900) of a response, and why, in our words."""

    status: int
    comment: str = ""


def decode_command(encoded: bytes) -> Command:
    """Raises ``ProtocolFault`` where the bytes are no command set that could be answered."""
    found: dict[int, bytes] = {}
    position = 0
    while position < len(encoded):
        if position + _ELEMENT.size > len(encoded):
            raise ProtocolFault(AbortReason.NOT_SPECIFIED, "a command set is cut off")
        group, element, length = _ELEMENT.unpack_from(encoded, position)
        position += _ELEMENT.size
        if group != 0 or position + length > len(encoded):
            raise ProtocolFault(AbortReason.NOT_SPECIFIED, "a command set is malformed")
        if element in _VALUE_BYTES:
            found[element] = encoded[position : position + length]
        position += length
    field = _number(found, 0x0100)
    if field is None:
        raise ProtocolFault(AbortReason.NOT_SPECIFIED, "a command set without Command Field")
    return Command(
        field=field,
        message_id=_number(found, 0x0110),
        class_uid=_uid(found.get(0x0002) or found.get(0x0003) or b""),
        instance_uid=_uid(found.get(0x1000) or found.get(0x1001) or b""),
        action_type=_number(found, 0x1008),
        has_data_set=_number(found, 0x0800) != NO_DATA_SET,
    )


def encode_response(command: Command, answer: Answer) -> bytes:
    """The response to a request, whose UIDs it repeats (PS3.7 sections 9.3.1.2, 9.3.5.2, 10.3.5.2)."""
    elements = [
        _element(0x0002, _padded(command.class_uid, b"\0")) if command.class_uid else b"",
        _unsigned_short(0x0100, command.field | RESPONSE),
        _unsigned_short(0x0120, command.message_id or 0),
        _unsigned_short(0x0800, NO_DATA_SET),
        _unsigned_short(0x0900, answer.status),
        _element(0x0902, _padded(answer.comment[:COMMENT_CHARACTERS], b" ")) if answer.comment else b"",
        _element(0x1000, _padded(command.instance_uid, b"\0")) if command.instance_uid else b"",
        b"" if command.action_type is None else _unsigned_short(0x1008, command.action_type),
    ]
    body = b"".join(elements)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def in_p_data(context_id: int, command_set: bytes, *, peer_maximum: int) -> bytes:
    """A command set as P-DATA-TF PDUs that are no longer than the peer allows; 0: no limit (PS3.8 annex D.1.1)."""
    room = len(command_set) if peer_maximum == 0 else max(peer_maximum, _SHORTEST_PDU) - _PDV.size
    pdus = []
    for start in range(0, len(command_set), room):
        part = command_set[start : start + room]
        control = _COMMAND_FRAGMENT | (_LAST_FRAGMENT if start + room >= len(command_set) else 0)
        pdv = _PDV.pack(len(part) + 2, context_id, control) + part
        pdus.append(HEAD.pack(PduKind.P_DATA_TF, len(pdv)) + pdv)
    return b"".join(pdus)


def _number(found: dict[int, bytes], element: int) -> int | None:
    value = found.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == _VALUE_BYTES[element] else None


def _uid(value: bytes) -> str:
    text = value[: MAXIMUM_UID_BYTES + 1].rstrip(b"\0 ").decode("latin-1")
    return text if text.isascii() and text.isprintable() else _UNPRINTABLE.sub("?", text)


def _unsigned_short(element: int, number: int) -> bytes:
    return struct.pack("<HHIH", 0, element, 2, number)


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, element, len(value)) + value


def _padded(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + padding if len(value) % 2 else value
