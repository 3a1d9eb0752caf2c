"""The acceptor: pynetdicom's association server with the bounds and the bookkeeping that it lacks.

pynetdicom never times a peer out in the middle of a PDU (its ``recv`` blocks for ever): every accepted socket gets
a timeout here, and a deadline for the whole request. Its ten associations, which bare TCP connections fill up, become
``maximum_associations``.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import ThreadedAssociationServer

from dicom_node.association.contexts import ANALYSED_CLASSES, STORED_CLASSES, TRANSFER_SYNTAXES, UNCOMPRESSED
from dicom_node.association.intake import ReceivedInstance
from dicom_node.association.policy import REJECTED_PERMANENT, SOURCE_SERVICE_USER, admit
from dicom_node.errors import InstanceRefused, ResourceExhausted, StoreStatus
from dicom_node.records import InstanceFacts
from dicom_node.settings import ScpSettings
from dicom_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

log = structlog.get_logger(__name__)

VERIFICATION = "1.2.840.10008.1.1"
COMMENT_CHARACTERS = 64
"""Error Comment (0000,0902) is LO: at most 64 characters."""


@dataclass(slots=True)
class _Traffic:
    """What one association has brought. Changed by its own thread only."""

    association: Association
    started: float = field(default_factory=time.monotonic)
    series: set[str] = field(default_factory=set)
    accepted: int = 0
    refused: int = 0
    size_bytes: int = 0


class StorageScp:
    """Accepts associations and hands every instance to ``intake``, whose return means that it is durable."""

    def __init__(self, settings: ScpSettings, intake: Callable[[ReceivedInstance], InstanceFacts]) -> None:
        self._settings = settings
        self._intake = intake
        self._traffic: dict[Association, _Traffic] = {}
        self._deadlines: dict[Association, threading.Timer] = {}
        self._lock = threading.Lock()
        self._server: ThreadedAssociationServer | None = None
        self._ae = _entity(settings)

    def start(self) -> None:
        """Bind and accept. Raises ``ResourceExhausted`` where the port cannot be used."""
        handlers: list[tuple[evt.EventType, Callable[[evt.Event], object]]] = [
            (evt.EVT_CONN_OPEN, self._on_connection),
            (evt.EVT_REQUESTED, self._on_request),
            (evt.EVT_C_ECHO, lambda _event: StoreStatus.SUCCESS),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_CONN_CLOSE, self._on_close),
        ]
        address = (self._settings.bind, self._settings.port)
        try:
            self._server = self._ae.start_server(address, block=False, evt_handlers=handlers)  # type: ignore[arg-type]
        except OSError as error:
            raise ResourceExhausted(
                f"DICOM port {address[0]}:{address[1]} cannot be used ({error.strerror}); "
                "another node may be running: choose another with --port"
            ) from error

    def stop(self) -> None:
        """Accept nothing new and abort what is open: unacknowledged instances are sent again by their senders."""
        if self._server is not None:
            self._server.shutdown()
        self._ae.shutdown()

    @property
    def port(self) -> int:
        """The bound port; the configured one before ``start``."""
        return self._settings.port if self._server is None else int(self._server.server_address[1])

    def open_series(self) -> frozenset[str]:
        """Series to which an association that is still alive has sent."""
        with self._lock:
            traffic = list(self._traffic.values())
        # A thread that died without closing its connection must not hold a study back.
        return frozenset(uid for one in traffic if one.association.is_alive() for uid in tuple(one.series))

    def _on_connection(self, event: evt.Event) -> None:
        connection = event.assoc.dul.socket
        if connection is not None and connection.socket is not None:
            connection.socket.settimeout(self._settings.network_timeout_s)
            # A peer that sends a byte now and then outlives any timeout of a single read.
            deadline = threading.Timer(self._settings.association_timeout_s, _shut, [connection.socket])
            deadline.daemon = True
            with self._lock:
                self._deadlines[event.assoc] = deadline
            deadline.start()

    def _end_deadline(self, association: Association) -> None:
        with self._lock:
            deadline = self._deadlines.pop(association, None)
        if deadline is not None:
            deadline.cancel()

    def _on_request(self, event: evt.Event) -> None:
        self._end_deadline(event.assoc)
        request = event.assoc.requestor.primitive
        assert isinstance(request, A_ASSOCIATE)  # noqa: S101 - that is what this event means
        admission = admit(
            called_ae=str(request.called_ae_title),
            calling_ae=str(request.calling_ae_title),
            address=str(event.assoc.requestor.address),
            our_ae=self._settings.ae_title,
            peers=self._settings.peers,
        )
        if admission.reject is not None:
            # pynetdicom fills in the requestor's AE title only after this event.
            peer = _peer(event.assoc) | {"calling_ae": str(request.calling_ae_title).strip()}
            log.warning("association_rejected", **peer, reason=admission.reason)
            event.assoc.acse.send_reject(REJECTED_PERMANENT, SOURCE_SERVICE_USER, int(admission.reject))
            # pynetdicom closes the socket as soon as this handler returns: wait until the rejection has gone out.
            event.assoc.kill()
            return
        with self._lock:
            self._traffic[event.assoc] = _Traffic(association=event.assoc)

    def _on_store(self, event: evt.Event) -> Dataset | int:
        with self._lock:
            traffic = self._traffic.setdefault(event.assoc, _Traffic(association=event.assoc))
        received = _received(event)
        try:
            facts = self._intake(received)
        except InstanceRefused as refusal:
            traffic.refused += 1
            return self._refuse(event, refusal.status, str(refusal))
        except ResourceExhausted as error:
            traffic.refused += 1
            return self._refuse(event, StoreStatus.OUT_OF_RESOURCES, str(error))
        except Exception:
            log.exception("instance_failed", **_peer(event.assoc))
            traffic.refused += 1
            return self._refuse(event, StoreStatus.PROCESSING_FAILURE, "internal fault; see the log of the node")
        traffic.accepted += 1
        traffic.size_bytes += len(received.encoded)
        traffic.series.add(facts.series_uid)
        return StoreStatus.SUCCESS

    def _refuse(self, event: evt.Event, status: StoreStatus, comment: str) -> Dataset:
        log.warning("instance_refused", **_peer(event.assoc), status=f"{status:04X}", reason=comment)
        answer = Dataset()
        answer.Status = int(status)
        answer.ErrorComment = comment.encode("ascii", "replace").decode()[:COMMENT_CHARACTERS]
        return answer

    def _on_close(self, event: evt.Event) -> None:
        self._end_deadline(event.assoc)
        with self._lock:
            traffic = self._traffic.pop(event.assoc, None)
        if traffic is not None:
            log.info(
                "association_ended",
                **_peer(event.assoc),
                accepted=traffic.accepted,
                refused=traffic.refused,
                bytes=traffic.size_bytes,
                series=len(traffic.series),
                seconds=round(time.monotonic() - traffic.started, 3),
            )


def _shut(connection: socket.socket) -> None:
    """Wake the thread that reads; it closes the connection."""
    with contextlib.suppress(OSError):  # closed in the same moment
        connection.shutdown(socket.SHUT_RDWR)


def _entity(settings: ScpSettings) -> AE:
    ae = AE(ae_title=settings.ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_associations = settings.maximum_associations
    ae.maximum_pdu_size = settings.maximum_pdu_bytes
    ae.acse_timeout = settings.association_timeout_s
    ae.dimse_timeout = settings.network_timeout_s
    ae.network_timeout = settings.network_timeout_s
    ae.add_supported_context(VERIFICATION, list(UNCOMPRESSED))
    for sop_class in (*ANALYSED_CLASSES, *STORED_CLASSES):
        ae.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
    return ae


def _received(event: evt.Event) -> ReceivedInstance:
    request = event.request
    assert isinstance(request, C_STORE)  # noqa: S101 - that is what this event means
    return ReceivedInstance(
        calling_ae=str(event.assoc.requestor.ae_title).strip(),
        sop_class_uid=str(request.AffectedSOPClassUID or ""),
        sop_instance_uid=str(request.AffectedSOPInstanceUID or ""),
        context_sop_class_uid=str(event.context.abstract_syntax),
        transfer_syntax_uid=str(event.context.transfer_syntax),
        encoded=event.encoded_dataset(include_meta=False),
    )


def _peer(association: Association) -> dict[str, str]:
    return {"calling_ae": str(association.requestor.ae_title), "address": str(association.requestor.address)}
