"""The Storage SCP: listens, gives every connection a thread, and knows which associations are open.

The thread that accepts does nothing else: no handshake, no byte of a peer, no lock that a peer could hold.
"""

import contextlib
import resource
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable

import structlog

from dicom_node.association.association import Association, House
from dicom_node.association.deadlines import Watchdog
from dicom_node.association.dialogue import Services
from dicom_node.association.intake import Intake
from dicom_node.association.places import Places
from dicom_node.association.requests import AssociationEvent, CommitmentRequest
from dicom_node.errors import ResourceExhausted
from dicom_node.settings import ScpSettings

log = structlog.get_logger(__name__)

BACKLOG = 512
"""Connections that the operating system keeps until they are accepted."""
BREATH_S = 0.1
"""Pause after a connection that could not be accepted: out of descriptors, say."""
UNREAD_BYTES = 64 * 1024
"""Of our responses, kept by the operating system for a peer that does not read them; then its association waits."""
HANDOVER_S = 0.0005
"""How long a thread that computes keeps the interpreter when another asks for it. An association asks after each system
call, some twenty times an instance; at Python's 5 ms, one busy thread (rows for the index, an analysis) stalls all."""
STOP_PATIENCE_S = 10.0
"""For associations that are just making an instance durable when the node stops."""


class StorageScp:
    """Accepts associations and hands every instance to ``intake``.

    ``tls`` is asked at every connection for what encrypts it: all of ``settings.port``, or of the second port
    ``settings.tls.port`` where there is one.
    ``commitment`` answers N-ACTION requests with a status (PS3.4 section J.3.2.1); ``audit`` is told of every
    association. Both are called in the association's thread.
    """

    def __init__(
        self,
        settings: ScpSettings,
        intake: Intake,
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        commitment: Callable[[CommitmentRequest], int] | None = None,
        audit: Callable[[AssociationEvent], None] | None = None,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._tls = tls
        self._house = House(
            settings=settings,
            services=Services(intake=intake, commitment=commitment),
            places=Places(
                associations=settings.maximum_associations,
                associations_per_peer=settings.maximum_associations_per_peer,
            ),
            report=audit or (lambda _event: None),
        )
        self._watchdog = Watchdog()
        self._listeners: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._open: dict[Association, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Bind and accept. Raises ``ResourceExhausted`` where a port cannot be used."""
        tls_port = None if self._settings.tls is None else self._settings.tls.port
        if self._tls is None or tls_port is None:
            doors = [(self._settings.port, self._tls)]
        else:
            doors = [(self._settings.port, None), (tls_port, self._tls)]
        self._listeners = [_listen(self._settings.bind, port) for port, _ in doors]
        sys.setswitchinterval(HANDOVER_S)
        _allow_descriptors()
        self._watchdog.start()
        for listener, (_, tls) in zip(self._listeners, doors, strict=True):
            thread = threading.Thread(target=self._accept, args=(listener, tls), name="storage-scp", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Accept nothing new and abort what is open: unacknowledged instances are sent again by their senders."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        for thread in self._threads:
            thread.join()
        for listener in self._listeners:
            listener.close()
        with self._lock:
            open_now = dict(self._open)
        for association in open_now:
            association.stop()
        deadline = time.monotonic() + STOP_PATIENCE_S
        for thread in open_now.values():
            thread.join(max(deadline - time.monotonic(), 0.0))
        if self._threads:
            self._watchdog.stop()

    @property
    def port(self) -> int:
        """The bound port; the configured one before ``start``."""
        return int(self._listeners[0].getsockname()[1]) if self._listeners else self._settings.port

    @property
    def tls_port(self) -> int:
        """The bound port that speaks TLS; ``port`` where there is no second one."""
        return int(self._listeners[-1].getsockname()[1]) if self._listeners else self.port

    def open_series(self) -> frozenset[str]:
        """Series to which an association that is still established has sent.

        When it returns, the index shows every instance of the others: who decides that a study is complete asks this
        first, and then the index. Raises ``ResourceExhausted`` where the index takes no rows.
        """
        with self._lock:
            associations = tuple(self._open)
        series = frozenset().union(*(association.open_series() for association in associations))
        self._intake.flush()
        return series

    def _accept(self, listener: socket.socket, tls: Callable[[], ssl.SSLContext] | None) -> None:
        while not self._stopping.is_set():
            try:
                connection, address = listener.accept()
            except OSError as error:
                if not self._stopping.is_set():
                    log.error("connection_not_accepted", reason=error.strerror)
                    self._stopping.wait(BREATH_S)
                continue
            try:
                self._welcome(connection, str(address[0]), None if tls is None else tls())
            except Exception:  # the peer left already, no thread or no memory: whatever it is, the next one is accepted
                log.exception("connection_not_served")
                connection.close()

    def _welcome(self, connection: socket.socket, address: str, tls: ssl.SSLContext | None) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_BYTES)
        association = Association(connection, address, self._house, tls=tls)
        thread = threading.Thread(target=self._serve, args=(association,), name="association", daemon=True)
        with self._lock:
            self._open[association] = thread
        try:
            self._watchdog.add(association)
            self._house.places.arrive(association)
            thread.start()
        except Exception:
            self._forget(association)
            raise

    def _serve(self, association: Association) -> None:
        try:
            association.run()
        finally:
            self._forget(association)

    def _forget(self, association: Association) -> None:
        self._house.places.leave(association)
        self._watchdog.remove(association)
        with self._lock:
            self._open.pop(association, None)
        association.close()


def _allow_descriptors() -> None:
    """As many as the system lets us have: every association needs two or three, and the usual limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # not allowed here: the limit stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(bind: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((bind, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ResourceExhausted(
            f"DICOM port {bind}:{port} cannot be used ({error.strerror}); "
            "another node may be running: choose another with --port"
        ) from error
