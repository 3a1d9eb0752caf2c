"""One association: a thread that reads, decides, answers, and ends (PS3.8 section 7).

Walks the state machine of ``upper_layer``; what each action means for the connection stands in ``_perform``. Every wait
has a deadline, which the watchdog keeps: ``evict`` shuts the connection down under the waiting thread.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

import structlog

from dicom_node.association.commands import in_p_data
from dicom_node.association.deadlines import Deadline, Pace
from dicom_node.association.dialogue import Dialogue, Services, Traffic
from dicom_node.association.negotiation import negotiate
from dicom_node.association.pdus import (
    APPLICATION_CONTEXT,
    PROTOCOL_VERSION_1,
    AssociateRequest,
    decode_associate_rq,
    encode_abort,
    encode_associate_ac,
    encode_associate_rj,
    encode_release_rp,
)
from dicom_node.association.places import Places
from dicom_node.association.policy import (
    LOCAL_LIMIT_EXCEEDED,
    REJECTED_PERMANENT,
    SOURCE_SERVICE_USER,
    Admission,
    admit,
)
from dicom_node.association.requests import AssociationEvent, Brought, EventKind
from dicom_node.association.transfer import ConnectionEnded, Inbox, check_length
from dicom_node.association.upper_layer import (
    EVENT_OF_PDU,
    TRANSITIONS,
    AbortReason,
    Action,
    Event,
    PduKind,
    ProtocolFault,
    State,
)
from dicom_node.records import Right
from dicom_node.settings import ScpSettings
from dicom_node.tls import certificate_names, explain

log = structlog.get_logger(__name__)

MAXIMUM_REQUEST_BYTES = 256 * 1024
"""Of an association request: one with 128 presentation contexts of 30 transfer syntaxes each takes half of it."""
ARTIM_S = 1.0
"""How long a peer may take to close the connection, once the last word was said (PS3.8 section 9.1.4)."""
STUDIES_AT_ONCE = 1_000
"""Brought by one association; then the audit trail is told of them, and counting begins anew."""
ABORT_SOURCE_USER, ABORT_SOURCE_PROVIDER = 0, 2
"""PS3.8 table 9-26."""
VERSION_NOT_SUPPORTED = (1, 2, 2)
APPLICATION_CONTEXT_NOT_SUPPORTED = (1, 1, 2)
"""Result, source and reason of A-ASSOCIATE-RJ (PS3.8 table 9-21)."""


class _End(Enum):
    """How an established association ended, in words for the log."""

    RELEASED = "released"
    PEER_ABORTED = "aborted by the peer"
    LOST = "connection lost"
    SILENT = "the peer was silent, or too slow, for too long"
    STOPPED = "the node stops"


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What all associations of a server share."""

    settings: ScpSettings
    services: Services
    places: Places
    report: Callable[[AssociationEvent], None]


class Association:
    """Runs in a thread of its own. ``tls``: what the connection has to be wrapped in."""

    def __init__(self, connection: socket.socket, address: str, house: House, *, tls: ssl.SSLContext | None) -> None:
        self.address = address
        self.deadline = Deadline()
        self.deadline.within(house.settings.association_timeout_s)
        self._connection = connection
        self._house = house
        self._settings = house.settings
        self._tls = tls
        self._state = State.STA1
        self._evicted = self._stopping = self._sending = False
        self._pace = Pace(self.deadline, period_s=house.settings.transfer_timeout_s)
        self._inbox = Inbox(self._receive_into, self.deadline, pdu_s=house.settings.transfer_timeout_s)
        self._request: AssociateRequest | None = None
        self._certificate_names: tuple[str, ...] = ()
        self._dialogue: Dialogue | None = None
        self._p_data_length = 0
        self._abort_reason = AbortReason.NOT_SPECIFIED
        self._end = ""
        self._started = time.monotonic()

    def run(self) -> None:
        """From the accepted connection to its end."""
        try:
            if self._secure():
                self._perform(Event.TRANSPORT_INDICATION)
                while self._state is not State.STA1:
                    self._step()
        except Exception:
            log.exception("association_failed", **self._peer())
        finally:
            self._leave()

    def close(self) -> None:
        """Give descriptor and buffer back; only when nobody can evict it any more."""
        self._connection.close()
        self._inbox.close()

    def evict(self) -> None:
        """See ``deadlines.Watched``. An established association still says A-ABORT, unless sending is what fails."""
        self._evicted = True
        reading = self._state is State.STA6 and not self._sending
        with contextlib.suppress(OSError):  # closed by the peer in the same moment
            # Not SSLSocket's own: that would take the encryption away under the thread that uses it.
            socket.socket.shutdown(self._connection, socket.SHUT_RD if reading else socket.SHUT_RDWR)

    def stop(self) -> None:
        """Abort: the node stops."""
        self._stopping = True
        self.evict()

    def open_series(self) -> frozenset[str]:
        """Series that it has sent instances of, while it is established."""
        dialogue = self._dialogue
        return frozenset() if dialogue is None else dialogue.traffic.open_series()

    def _secure(self) -> bool:
        """The TLS handshake, where there is one."""
        if self._tls is None:
            return True
        try:
            secured = self._tls.wrap_socket(self._connection, server_side=True, do_handshake_on_connect=False)
            self._connection = secured
            secured.do_handshake()
            self._certificate_names = certificate_names(secured)
        except OSError as error:
            reason = "did not finish the TLS handshake in time" if self._evicted else explain(error)
            log.warning("tls_failed", address=self.address, reason=reason)
            self._house.report(AssociationEvent(kind=EventKind.TLS_FAILED, address=self.address, reason=reason))
            return False
        return True

    def _step(self) -> None:
        """Wait for the next thing that happens, and do what it asks for."""
        try:
            self._perform(self._next_event())
        except ConnectionEnded:
            expired = self._evicted and self._state in (State.STA2, State.STA13)
            if self._evicted and not expired:
                self._end = (_End.STOPPED if self._stopping else _End.SILENT).value
                self._perform(Event.ABORT_REQUEST)
            else:
                self._perform(Event.ARTIM_EXPIRED if expired else Event.TRANSPORT_CLOSED)
        except ProtocolFault as fault:
            self._abort_reason, self._end = fault.reason, str(fault)
            log.warning("protocol_fault", **self._peer(), state=self._state.value, reason=str(fault))
            self._perform(Event.INVALID_PDU)

    def _next_event(self) -> Event:
        """Read the next PDU; of a P-DATA-TF only the head."""
        if self._state is State.STA13:
            self._inbox.drain()  # AA-6 whatever it is
            raise ConnectionEnded
        kind, length = self._inbox.head(wait_s=self._patience_s())
        if kind not in EVENT_OF_PDU:
            raise ProtocolFault(AbortReason.UNRECOGNISED_PDU, "a PDU of an unknown type")
        event = EVENT_OF_PDU[PduKind(kind)]
        if self._state is State.STA2 and event is Event.ASSOCIATE_RQ:
            if length > MAXIMUM_REQUEST_BYTES:
                raise ProtocolFault(AbortReason.INVALID_PARAMETER, "an association request is too long")
            self._request = decode_associate_rq(self._inbox.body(length))
        elif event is Event.P_DATA:
            check_length(length, maximum_pdu=self._settings.maximum_pdu_bytes)
            self._p_data_length = length
            self._pace.note(length)
        elif TRANSITIONS[self._state, event].action in (Action.AA_1, Action.AA_8):
            self._abort_reason, self._end = AbortReason.UNEXPECTED_PDU, "a PDU that is not expected here"
        return event

    def _patience_s(self) -> float | None:
        """How long the next PDU may take to begin; ``None`` before there is an association."""
        if self._dialogue is None:
            return None
        if not self._dialogue.within_message:
            self._pace.restart()
            return self._settings.network_timeout_s
        if self._pace.too_slow:
            self.evict()
            raise ConnectionEnded
        return self._settings.transfer_timeout_s

    def _perform(self, event: Event) -> None:
        action, self._state = TRANSITIONS[self._state, event]
        match action:
            case Action.AE_6:
                self._decide()
            case Action.DT_2:
                if self._dialogue is not None:
                    self._inbox.p_data(self._p_data_length, self._dialogue)
                    self._report_many(self._dialogue.traffic)
            case Action.AR_2:
                self._perform(Event.RELEASE_RESPONSE)
            case Action.AR_4:
                self._end = _End.RELEASED.value
                self._last_word(encode_release_rp())
            case Action.AA_1:
                self._last_word(encode_abort(ABORT_SOURCE_USER, AbortReason.NOT_SPECIFIED))
            case Action.AA_3:
                self._end = _End.PEER_ABORTED.value
            case Action.AA_4:
                self._end = _End.LOST.value
            case Action.AA_8:
                self._last_word(encode_abort(ABORT_SOURCE_PROVIDER, self._abort_reason))
            case _:
                # AE-5, AE-7 and AE-8 are done where they are decided; AA-2, AA-5 and AR-5 by leaving.
                pass

    def _decide(self) -> None:
        """AE-6, and the A-ASSOCIATE response."""
        request = self._request
        assert request is not None  # noqa: S101 - that is what this event means
        admission = self._admission(request)
        if not request.protocol_version & PROTOCOL_VERSION_1:
            self._reject(VERSION_NOT_SUPPORTED, "no protocol version in common")
        elif request.application_context != APPLICATION_CONTEXT:
            self._reject(APPLICATION_CONTEXT_NOT_SUPPORTED, "application context name is not DICOM's")
        elif admission.reject is not None:
            self._reject((REJECTED_PERMANENT, SOURCE_SERVICE_USER, int(admission.reject)), admission.reason)
        elif not self._house.places.take(self._place()):
            self._reject(LOCAL_LIMIT_EXCEEDED, "too many associations at once")
        else:
            self._accept(request, admission)

    def _admission(self, request: AssociateRequest) -> Admission:
        return admit(
            called_ae=request.called_ae,
            calling_ae=request.calling_ae,
            address=self.address,
            our_ae=self._settings.ae_title,
            peers=self._settings.peers,
            certificate_names=self._certificate_names,
        )

    def _reject(self, rejection: tuple[int, int, int], reason: str) -> None:
        log.warning("association_rejected", **self._peer(), reason=reason)
        self._report(EventKind.REJECTED, reason)
        self._perform(Event.REJECT)
        self._last_word(encode_associate_rj(*rejection))

    def _accept(self, request: AssociateRequest, admission: Admission) -> None:
        offered = {Right.ECHO, Right.STORE}
        if self._house.services.commitment is not None:
            offered.add(Right.COMMIT)
        answers, accepted = negotiate(request.contexts, offered=offered, rights=admission.rights)
        self._dialogue = Dialogue(accepted, self._house.services, peer=self._peer(), send=self._respond)
        self._house.places.leave(self)
        self._perform(Event.ACCEPT)
        self._report(EventKind.ACCEPTED, admission.reason)
        self._send(encode_associate_ac(request, answers, maximum_pdu=self._settings.maximum_pdu_bytes))

    def _respond(self, context_id: int, command_set: bytes) -> None:
        assert self._request is not None  # noqa: S101 - there is an association
        self._send(in_p_data(context_id, command_set, peer_maximum=self._request.maximum_length))

    def _send(self, pdu: bytes) -> None:
        self.deadline.within(self._settings.transfer_timeout_s)
        self._sending = True
        try:
            self._connection.sendall(pdu)
        except OSError as error:
            raise ConnectionEnded from error
        finally:
            self._sending = False

    def _last_word(self, pdu: bytes) -> None:
        """Send it, and leave ARTIM seconds to the peer to close the connection. What cannot be sent is not."""
        self._leave_association()
        self.deadline.within(ARTIM_S)
        with contextlib.suppress(OSError):
            self._connection.sendall(pdu)

    def _receive_into(self, view: memoryview, *, whole: bool = False) -> int:
        """See ``transfer.Receive``. TLS gives a record at a time, whatever is asked for."""
        if self._evicted:
            return 0
        try:
            count = self._connection.recv_into(view, 0, socket.MSG_WAITALL if whole and self._tls is None else 0)
        except OSError:
            return 0
        return 0 if self._evicted else count

    def _leave(self) -> None:
        self._leave_association()
        self._house.places.leave(self)

    def _leave_association(self) -> None:
        """The association is over: give back its place, throw away what is half received, say what it brought."""
        dialogue, self._dialogue = self._dialogue, None
        if dialogue is None:
            return
        try:
            dialogue.close()
        finally:
            self._house.places.give_back(self._place())
        traffic = dialogue.traffic
        log.info(
            "association_ended",
            **self._peer(),
            end=self._end,
            accepted=traffic.accepted,
            refused=traffic.refused,
            bytes=traffic.size_bytes,
            series=len(traffic.series),
            seconds=round(time.monotonic() - self._started, 3),
        )
        released = self._end == _End.RELEASED.value
        self._report(
            EventKind.ENDED if released else EventKind.ABORTED,
            self._end,
            instances=traffic.accepted,
            studies=traffic.take_studies(),
        )

    def _report_many(self, traffic: Traffic) -> None:
        """Say what was brought before its end, so that an association without one does not fill the memory."""
        if len(traffic.studies) >= STUDIES_AT_ONCE:
            self._report(EventKind.UNDER_WAY, "", instances=traffic.accepted, studies=traffic.take_studies())

    def _report(
        self,
        kind: EventKind,
        reason: str,
        *,
        instances: int = 0,
        studies: Mapping[str, Brought] = MappingProxyType({}),
    ) -> None:
        request = self._request
        self._house.report(
            AssociationEvent(
                kind=kind,
                address=self.address,
                calling_ae="" if request is None else request.calling_ae,
                called_ae="" if request is None else request.called_ae,
                reason=reason,
                instances=instances,
                studies=studies,
            )
        )

    def _peer(self) -> dict[str, str]:
        return {"calling_ae": "" if self._request is None else self._request.calling_ae, "address": self.address}

    def _place(self) -> tuple[str, str]:
        return ("" if self._request is None else self._request.calling_ae, self.address)
