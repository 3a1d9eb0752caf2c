"""PDUs of association control, decoded and encoded (PS3.8 section 9.3, PS3.7 annex D.3.3).

Own code, because pynetdicom's decoder takes milliseconds for the hundred presentation contexts that archives propose,
and answers hostile bytes with whatever exception they lead to. Here a request is walked once, within its own length,
and every fault is a ``ProtocolFault`` with our words.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.uid import ImplicitVRLittleEndian

from dicom_node.association.upper_layer import AbortReason, PduKind, ProtocolFault
from dicom_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""The one DICOM application context name (PS3.7 annex A.2.1)."""
PROTOCOL_VERSION_1 = 0x0001
"""Bit 0 of the protocol version (PS3.8 table 9-11)."""
HEAD = struct.Struct(">BxI")
"""PDU type, reserved, length of what follows."""
HEAD_BYTES = HEAD.size
MAXIMUM_UID_BYTES = 64

_FIXED = struct.Struct(">HH16s16s32x")
"""Protocol version, reserved, called and calling AE title (PS3.8 table 9-11)."""
_ITEM = struct.Struct(">BxH")
_APPLICATION_CONTEXT, _CONTEXT_RQ, _CONTEXT_AC, _USER_INFORMATION = 0x10, 0x20, 0x21, 0x50
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_MAXIMUM_LENGTH, _IMPLEMENTATION_CLASS, _IMPLEMENTATION_VERSION = 0x51, 0x52, 0x55
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedContext:
    """A presentation context that the requestor proposes."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ. UIDs are as they came, cut to 64 bytes; unprintable bytes are question marks."""

    protocol_version: int
    called_ae: str
    calling_ae: str
    titles: bytes
    """Both AE titles and what follows them, to be sent back unchanged (PS3.8 table 9-17)."""
    application_context: str
    contexts: tuple[ProposedContext, ...]
    maximum_length: int
    """Of the variable field of a P-DATA-TF that the peer takes, in bytes; 0: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextAnswer:
    """Result of a presentation context (PS3.8 table 9-18), with the transfer syntax where it is accepted."""

    context_id: int
    result: int
    transfer_syntax: str = str(ImplicitVRLittleEndian)
    """Not significant, but there, where the context is not accepted."""


def decode_associate_rq(body: bytes) -> AssociateRequest:
    """What follows the head of an A-ASSOCIATE-RQ. Raises ``ProtocolFault``."""
    if len(body) < _FIXED.size:
        raise ProtocolFault(AbortReason.INVALID_PARAMETER, "association request too short")
    version, _, called, calling = _FIXED.unpack_from(body)
    application_context, maximum_length = "", 0
    contexts: dict[int, ProposedContext] = {}
    for kind, start, stop in _items(body, _FIXED.size, len(body)):
        if kind == _APPLICATION_CONTEXT:
            application_context = _uid(body, start, stop)
        elif kind == _CONTEXT_RQ:
            context = _proposed(body, start, stop)
            if context.context_id in contexts:
                raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a presentation context ID is used twice")
            contexts[context.context_id] = context
        elif kind == _USER_INFORMATION:
            maximum_length = _maximum_length(body, start, stop)
    if not contexts:
        raise ProtocolFault(AbortReason.INVALID_PARAMETER, "association request without presentation contexts")
    return AssociateRequest(
        protocol_version=version,
        called_ae=_printable(called),
        calling_ae=_printable(calling),
        titles=body[4 : _FIXED.size],
        application_context=application_context,
        contexts=tuple(contexts.values()),
        maximum_length=maximum_length,
    )


def encode_associate_ac(request: AssociateRequest, answers: Sequence[ContextAnswer], *, maximum_pdu: int) -> bytes:
    """An A-ASSOCIATE-AC that negotiates nothing but presentation contexts and the maximum length.

    Asynchronous operations, role selection, extended negotiation and user identity are answered by silence, which
    means: default, not supported, no response (PS3.7 sections D.3.3.3, D.3.3.4, D.3.3.5, D.3.3.7).
    """
    contexts = b"".join(
        _item(
            _CONTEXT_AC,
            bytes((answer.context_id, 0, answer.result, 0)) + _text(_TRANSFER_SYNTAX, answer.transfer_syntax),
        )
        for answer in answers
    )
    user_information = _item(
        _USER_INFORMATION,
        _item(_MAXIMUM_LENGTH, struct.pack(">I", maximum_pdu))
        + _text(_IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID)
        + _text(_IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION_NAME),
    )
    body = struct.pack(">HH", PROTOCOL_VERSION_1, 0) + request.titles
    body += _text(_APPLICATION_CONTEXT, APPLICATION_CONTEXT) + contexts + user_information
    return HEAD.pack(PduKind.ASSOCIATE_AC, len(body)) + body


def encode_associate_rj(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21)."""
    return HEAD.pack(PduKind.ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))


def encode_release_rp() -> bytes:
    """An A-RELEASE-RP."""
    return HEAD.pack(PduKind.RELEASE_RP, 4) + bytes(4)


def encode_abort(source: int, reason: int) -> bytes:
    """An A-ABORT. Source 0: service user, then the reason is not significant; 2: service provider."""
    return HEAD.pack(PduKind.ABORT, 4) + bytes((0, 0, source, reason))


def _proposed(body: bytes, start: int, stop: int) -> ProposedContext:
    if stop - start < 4:
        raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a presentation context is too short")
    context_id = body[start]
    if context_id % 2 == 0:
        raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a presentation context ID is even")
    abstract, transfer = "", []
    for kind, first, last in _items(body, start + 4, stop):
        if kind == _ABSTRACT_SYNTAX:
            abstract = _uid(body, first, last)
        elif kind == _TRANSFER_SYNTAX:
            transfer.append(_uid(body, first, last))
    return ProposedContext(context_id=context_id, abstract_syntax=abstract, transfer_syntaxes=tuple(transfer))


def _maximum_length(body: bytes, start: int, stop: int) -> int:
    for kind, first, last in _items(body, start, stop):
        if kind == _MAXIMUM_LENGTH:
            if last - first != 4:
                raise ProtocolFault(AbortReason.INVALID_PARAMETER, "maximum length is not four bytes long")
            return int.from_bytes(body[first:last], "big")
    return 0


def _items(body: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Type, start and stop of each item; what is not known is the caller's to pass over (PS3.8 section 9.3.1)."""
    position = start
    while position < stop:
        if position + _ITEM.size > stop:
            raise ProtocolFault(AbortReason.INVALID_PARAMETER, "an item of the request is cut off")
        kind, length = _ITEM.unpack_from(body, position)
        position += _ITEM.size
        if position + length > stop:
            raise ProtocolFault(AbortReason.INVALID_PARAMETER, "an item of the request reaches behind its end")
        yield kind, position, position + length
        position += length


def _uid(body: bytes, start: int, stop: int) -> str:
    """As it came, without padding, which some senders add; one byte too many stays, so that it matches nothing."""
    return _UNPRINTABLE.sub(
        "?", body[start : min(stop, start + MAXIMUM_UID_BYTES + 1)].rstrip(b"\0 ").decode("latin-1")
    )


def _printable(title: bytes) -> str:
    return _UNPRINTABLE.sub("?", title.decode("latin-1")).strip()


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content


def _text(kind: int, text: str) -> bytes:
    return _item(kind, text.encode("ascii"))
