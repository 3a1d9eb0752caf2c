"""The state machine of the DICOM upper layer (PS3.8 section 9.2), as far as an acceptor can get into it.

States, events and actions carry the standard's own identifiers. ``TRANSITIONS`` is table 9-10 without the columns of
a requestor: the node never asks for an association here, nor for a release, so Sta4, Sta5, Sta7 and Sta9 to Sta12 do
not exist. Pure: who reads, writes and waits is ``association``.
"""

from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple


class PduKind(IntEnum):
    """PDU types (PS3.8 section 9.3)."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class State(Enum):
    """States of the upper layer (PS3.8 tables 9-1 to 9-5)."""

    STA1 = "Sta1"
    """Idle: no transport connection."""
    STA2 = "Sta2"
    """Transport connection open, awaiting A-ASSOCIATE-RQ."""
    STA3 = "Sta3"
    """Awaiting the local A-ASSOCIATE response: who may associate is being decided."""
    STA6 = "Sta6"
    """Association established, ready for data transfer."""
    STA8 = "Sta8"
    """Awaiting the local A-RELEASE response."""
    STA13 = "Sta13"
    """Awaiting the peer's end of the transport connection."""


class Event(Enum):
    """Events (PS3.8 table 9-10), each with its number there."""

    ASSOCIATE_AC = "Evt3"
    """A-ASSOCIATE-AC received: never expected by an acceptor."""
    ASSOCIATE_RJ = "Evt4"
    """A-ASSOCIATE-RJ received: never expected by an acceptor."""
    TRANSPORT_INDICATION = "Evt5"
    """A transport connection was opened by a peer."""
    ASSOCIATE_RQ = "Evt6"
    """A-ASSOCIATE-RQ received."""
    ACCEPT = "Evt7"
    """Local A-ASSOCIATE response: accept."""
    REJECT = "Evt8"
    """Local A-ASSOCIATE response: reject."""
    P_DATA_REQUEST = "Evt9"
    """Something is to be sent."""
    P_DATA = "Evt10"
    """P-DATA-TF received."""
    RELEASE_RQ = "Evt12"
    """A-RELEASE-RQ received."""
    RELEASE_RP = "Evt13"
    """A-RELEASE-RP received."""
    RELEASE_RESPONSE = "Evt14"
    """Local A-RELEASE response."""
    ABORT_REQUEST = "Evt15"
    """The node itself wants to abort."""
    ABORT = "Evt16"
    """A-ABORT received."""
    TRANSPORT_CLOSED = "Evt17"
    """The transport connection is closed."""
    ARTIM_EXPIRED = "Evt18"
    """The association request/reject/release timer expired."""
    INVALID_PDU = "Evt19"
    """A PDU that is unknown or invalid."""


class Action(Enum):
    """Actions (PS3.8 tables 9-6 to 9-9), each with its name there."""

    AE_5 = "AE-5"
    """Take the connection, start ARTIM."""
    AE_6 = "AE-6"
    """Stop ARTIM; decide about the request. One that the provider cannot take is rejected and leads to Sta13."""
    AE_7 = "AE-7"
    """Send A-ASSOCIATE-AC."""
    AE_8 = "AE-8"
    """Send A-ASSOCIATE-RJ, start ARTIM."""
    DT_1 = "DT-1"
    """Send P-DATA-TF."""
    DT_2 = "DT-2"
    """Take P-DATA-TF."""
    AR_2 = "AR-2"
    """Tell the node of the peer's wish to release."""
    AR_4 = "AR-4"
    """Send A-RELEASE-RP, start ARTIM."""
    AR_5 = "AR-5"
    """Stop ARTIM."""
    AR_7 = "AR-7"
    """Send P-DATA-TF although the peer is about to release."""
    AA_1 = "AA-1"
    """Send A-ABORT with source "service user", start ARTIM."""
    AA_2 = "AA-2"
    """Stop ARTIM, close the connection."""
    AA_3 = "AA-3"
    """The peer aborted: close the connection."""
    AA_4 = "AA-4"
    """The connection is lost: tell the node."""
    AA_5 = "AA-5"
    """Stop ARTIM: the peer left before it asked for anything."""
    AA_6 = "AA-6"
    """Ignore the PDU."""
    AA_7 = "AA-7"
    """Send A-ABORT once more."""
    AA_8 = "AA-8"
    """Send A-ABORT with source "service provider", start ARTIM."""


class Transition(NamedTuple):
    """What to do, and the state afterwards."""

    action: Action
    state: State


_Table = dict[tuple[State, Event], Transition]


def _transitions() -> _Table:
    peer_pdus = (
        Event.ASSOCIATE_AC, Event.ASSOCIATE_RJ, Event.ASSOCIATE_RQ, Event.P_DATA, Event.RELEASE_RQ, Event.RELEASE_RP,
        Event.INVALID_PDU,
    )  # fmt: skip
    table: _Table = {(State.STA1, Event.TRANSPORT_INDICATION): Transition(Action.AE_5, State.STA2)}
    for event in peer_pdus:
        # Unless said otherwise below: a PDU that does not belong here aborts, and is ignored once we wait for the end.
        table[State.STA2, event] = Transition(Action.AA_1, State.STA13)
        for state in (State.STA3, State.STA6, State.STA8):
            table[state, event] = Transition(Action.AA_8, State.STA13)
        table[State.STA13, event] = Transition(Action.AA_6, State.STA13)
    for state in (State.STA3, State.STA6, State.STA8):
        table[state, Event.ABORT_REQUEST] = Transition(Action.AA_1, State.STA13)
        table[state, Event.ABORT] = Transition(Action.AA_3, State.STA1)
        table[state, Event.TRANSPORT_CLOSED] = Transition(Action.AA_4, State.STA1)
    return table | {
        (State.STA2, Event.ASSOCIATE_RQ): Transition(Action.AE_6, State.STA3),
        (State.STA2, Event.ABORT): Transition(Action.AA_2, State.STA1),
        (State.STA2, Event.TRANSPORT_CLOSED): Transition(Action.AA_5, State.STA1),
        (State.STA2, Event.ARTIM_EXPIRED): Transition(Action.AA_2, State.STA1),
        (State.STA3, Event.ACCEPT): Transition(Action.AE_7, State.STA6),
        (State.STA3, Event.REJECT): Transition(Action.AE_8, State.STA13),
        (State.STA6, Event.P_DATA_REQUEST): Transition(Action.DT_1, State.STA6),
        (State.STA6, Event.P_DATA): Transition(Action.DT_2, State.STA6),
        (State.STA6, Event.RELEASE_RQ): Transition(Action.AR_2, State.STA8),
        (State.STA8, Event.P_DATA_REQUEST): Transition(Action.AR_7, State.STA8),
        (State.STA8, Event.RELEASE_RESPONSE): Transition(Action.AR_4, State.STA13),
        (State.STA13, Event.ASSOCIATE_RQ): Transition(Action.AA_7, State.STA13),
        (State.STA13, Event.INVALID_PDU): Transition(Action.AA_7, State.STA13),
        (State.STA13, Event.ABORT): Transition(Action.AA_2, State.STA1),
        (State.STA13, Event.TRANSPORT_CLOSED): Transition(Action.AR_5, State.STA1),
        (State.STA13, Event.ARTIM_EXPIRED): Transition(Action.AA_2, State.STA1),
    }


TRANSITIONS: Final = MappingProxyType(_transitions())
"""PS3.8 table 9-10. What is not in it cannot happen: ``KeyError``."""

EVENT_OF_PDU: Final = MappingProxyType(
    {
        PduKind.ASSOCIATE_RQ: Event.ASSOCIATE_RQ,
        PduKind.ASSOCIATE_AC: Event.ASSOCIATE_AC,
        PduKind.ASSOCIATE_RJ: Event.ASSOCIATE_RJ,
        PduKind.P_DATA_TF: Event.P_DATA,
        PduKind.RELEASE_RQ: Event.RELEASE_RQ,
        PduKind.RELEASE_RP: Event.RELEASE_RP,
        PduKind.ABORT: Event.ABORT,
    }
)
"""The event that a received PDU is."""


class AbortReason(IntEnum):
    """Why the service provider aborts (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNISED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNISED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class ProtocolFault(Exception):
    """Received bytes that break PS3.8 or PS3.7; the association is aborted. The text is ours alone."""

    def __init__(self, reason: AbortReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
