"""Deadlines of blocking threads, kept by one thread that waits for all of them.

A socket timeout bounds one read; a peer that sends a byte now and then never meets it. So each association says until
when it must be done with what it waits for, blocks without a timeout, and is woken by ``Watchdog`` when it is late: by
shutting its socket down. An association that waits costs no processor time, and the watchdog looks up four times
a second.
"""

import threading
import time
from typing import Protocol

TICK_S = 0.25
"""A deadline is kept to that."""
NEVER = float("inf")
SLOWEST_BYTES = 64 * 1024
"""Of a message, in each period after its first: below what any line that carries images brings."""


class Deadline:
    """Until when its owner may wait. Set by the owner's thread, read by the watchdog's."""

    __slots__ = ("at", "stopped_s")

    def __init__(self) -> None:
        self.at = NEVER
        self.stopped_s = 0.0
        """How long it has been stopped, all in all."""

    def within(self, seconds: float) -> None:
        """From now on."""
        self.at = time.monotonic() + seconds

    def off(self) -> None:
        """The owner waits for nobody but the machine itself."""
        self.at = NEVER

    def stopped(self) -> "_Stopped":
        """Off while the block runs, and put off by as long: a slow disk is not the peer's fault, nor a gift to it."""
        return _Stopped(self)


class _Stopped:
    """A context manager without a generator: three of them are entered for every instance."""

    __slots__ = ("_at", "_deadline", "_since")

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        self._at, self._since = self._deadline.at, time.monotonic()
        self._deadline.at = NEVER

    def __exit__(self, *_: object) -> None:
        spent = time.monotonic() - self._since
        self._deadline.at = self._at + spent
        self._deadline.stopped_s += spent


class Pace:
    """How fast a message comes: a deadline for each PDU alone is met for ever by a peer that sends tiny ones.

    After its first ``period_s`` a message has to bring ``SLOWEST_BYTES`` for each further one. Time in which
    ``deadline`` is stopped does not count.
    """

    def __init__(self, deadline: Deadline, *, period_s: float) -> None:
        self._deadline = deadline
        self._period_s = period_s
        self.restart()

    def restart(self) -> None:
        """No message is under way; the next one begins now."""
        self._since = self._now()
        self._bytes = 0

    def note(self, size: int) -> None:
        """So many bytes of the message are announced; the deadline of their PDU sees that they come."""
        self._bytes += size

    @property
    def too_slow(self) -> bool:
        """Whether the peer has used up the time that its bytes have bought."""
        return self._now() - self._since > self._period_s * (1 + self._bytes / SLOWEST_BYTES)

    def _now(self) -> float:
        return time.monotonic() - self._deadline.stopped_s


class Watched(Protocol):
    """Something that waits for a peer."""

    @property
    def deadline(self) -> Deadline:
        """Until when."""
        ...

    def evict(self) -> None:
        """End the wait of its thread. Called from the watchdog's thread, more than once if need be."""
        ...


class Watchdog:
    """One thread for all associations of a server."""

    def __init__(self) -> None:
        self._watched: dict[int, Watched] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is still watched is left alone."""
        self._stopping.set()
        self._thread.join()

    def add(self, watched: Watched) -> None:
        """Watch it until it is removed."""
        with self._lock:
            self._watched[id(watched)] = watched

    def remove(self, watched: Watched) -> None:
        """Its socket may be closed after this: nobody else touches it any more."""
        with self._lock:
            self._watched.pop(id(watched), None)

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            now = time.monotonic()
            with self._lock:  # held while evicting: a descriptor that was closed may belong to somebody else by now
                for watched in self._watched.values():
                    if watched.deadline.at < now:
                        watched.evict()
