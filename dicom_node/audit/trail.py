"""Takes events from any thread without holding it up, and writes them from a thread of its own for each sink.

The queue of a sink is bounded. While a sink fails, it is tried again and again; what finds the queue full is dropped,
counted, said in the log, and told in the trail itself as soon as the sink writes again.
"""

import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from dicom_node.audit import codes
from dicom_node.audit.events import AuditEvent, application_started, application_stopped, messages_lost
from dicom_node.audit.message import audit_message
from dicom_node.audit.refusals import Refusals
from dicom_node.errors import NodeError

log = structlog.get_logger(__name__)

CAPACITY = 10_000
"""Events that wait for a sink: some 10 MB, and more than a day of a busy hospital."""
GATHER_S = 0.25
"""From the first event to the writing of all that have come by then: one synchronisation for many."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""After a failure of a sink; doubling."""
LAST_WORDS_S = 5.0
"""For what waits when the node stops."""


class Sink(Protocol):
    """Where messages go. Used by one thread."""

    @property
    def name(self) -> str:
        """For the log."""
        ...

    @property
    def batch(self) -> int:
        """How many messages it takes at once, so that either all of them are there or none."""
        ...

    @property
    def lost(self) -> int:
        """How many of those that it took never arrived, as was seen later; only grows."""
        ...

    def write(self, messages: Sequence[bytes]) -> None:
        """Raises ``OSError`` or ``NodeError`` where they could not be written; they are offered again."""
        ...

    def close(self) -> None:
        """No more messages."""
        ...


class AuditTrail:
    """The trail of one node. ``record`` never blocks and never raises.

    A command beside the node has one too, into the same sinks; it is ``of_command``, and tells of no start and stop.
    """

    def __init__(self, sinks: Sequence[Sink], *, ae_title: str, of_command: bool = False) -> None:
        self._ae_title = ae_title
        self._of_command = of_command
        source_id = f"{ae_title}@{socket.gethostname()}"
        self._writers = [_Writer(sink, ae_title=ae_title, source_id=source_id, idle=self._tell_due) for sink in sinks]
        self._refusals = Refusals()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Write from now on; the first message says that the node runs."""
        for writer in self._writers:
            writer.start()
        if not self._of_command:
            self.record(application_started(self._ae_title))

    def stop(self) -> None:
        """Write what waits, for ``LAST_WORDS_S`` at most; the last message says that the node has stopped."""
        with self._lock:
            rest = self._refusals.rest()
        last = [] if self._of_command else [application_stopped(self._ae_title)]
        for event in (*rest, *last):
            self._put(event)
        for writer in self._writers:
            writer.stop()
        for writer in self._writers:
            if writer.is_alive():
                writer.join(LAST_WORDS_S + 1)  # a repository that does not answer must not hold up the stop

    def record(self, event: AuditEvent) -> None:
        """Take an event. Alerts about the same address are told once a minute, with their number."""
        with self._lock:
            events = self._refusals.due()
            about_a_node = event.id is codes.SECURITY_ALERT and event.alert_subject is not None
            events += self._refusals.note(event) if about_a_node else [event]
        for one in events:
            self._put(one)

    def _tell_due(self) -> None:
        """Summaries do not wait for the next event, which may come days later."""
        with self._lock:
            events = self._refusals.due()
        for one in events:
            self._put(one)

    def _put(self, event: AuditEvent) -> None:
        for writer in self._writers:
            writer.put(event)


class _Writer(threading.Thread):
    """Brings events to one sink; calls ``idle`` again and again while there are none."""

    def __init__(self, sink: Sink, *, ae_title: str, source_id: str, idle: Callable[[], None]) -> None:
        super().__init__(name=f"audit-{sink.name}", daemon=True)
        self._sink = sink
        self._ae_title = ae_title
        self._source_id = source_id
        self._idle = idle
        self._events: queue.Queue[AuditEvent] = queue.Queue(CAPACITY)
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._counting = threading.Lock()
        self._dropped = self._told = 0

    def put(self, event: AuditEvent) -> None:
        try:
            self._events.put_nowait(event)
        except queue.Full:
            with self._counting:
                self._dropped += 1

    def stop(self) -> None:
        self._deadline = time.monotonic() + LAST_WORDS_S
        self._stopping.set()

    def run(self) -> None:
        try:
            while batch := self._batch():
                try:
                    if not self._bring([audit_message(event, source_id=self._source_id) for event in batch]):
                        return
                except Exception:  # the boundary of the thread: without it the trail would end silently
                    log.exception("audit_batch_failed", sink=self._sink.name)
                    with self._counting:
                        self._dropped += len(batch)
        finally:
            self._sink.close()

    def _batch(self) -> list[AuditEvent]:
        """The next events, in order; empty when the trail has ended."""
        first = None
        while first is None:
            try:
                first = self._events.get(timeout=GATHER_S)
            except queue.Empty:
                if self._stopping.is_set():
                    return []
                self._idle()
        if self._sink.batch > 1:  # else nothing is gained by waiting for more
            self._stopping.wait(GATHER_S)
        batch = [first]
        while len(batch) < self._sink.batch and not self._events.empty():
            batch.append(self._events.get_nowait())
        return batch

    def _bring(self, messages: list[bytes]) -> bool:
        """Write, and try again until it is written, or the time after the stop of the node is over: then False."""
        pause_s, failed = FIRST_PAUSE_S, False
        while True:
            try:
                self._sink.write(messages)
                break
            except (OSError, NodeError) as error:
                if not failed:
                    log.error("audit_not_written", sink=self._sink.name, reason=_reason(error))
                failed = True
            if time.monotonic() + pause_s > self._deadline:
                log.error(
                    "audit_messages_lost",
                    sink=self._sink.name,
                    count=self._untold() + len(messages) + self._events.qsize(),
                )
                return False
            self._stopping.wait(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        if failed:
            log.info("audit_written_again", sink=self._sink.name)
        lost = self._untold()
        if not lost:
            return True
        log.error("audit_messages_lost", sink=self._sink.name, count=lost)
        self._told += lost
        gap = messages_lost(self._ae_title, count=lost, where=f"{self._sink.name} did not take them")
        return self._bring([audit_message(gap, source_id=self._source_id)])  # the queue may be full

    def _untold(self) -> int:
        return self._dropped + self._sink.lost - self._told


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, NodeError) else type(error).__name__
