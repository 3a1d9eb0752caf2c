"""Who may hold a connection, and who an association: counted, bounded, and never taken by those who only knock.

A TCP connection without an association request costs a thread and nothing else; there is room for many, and when even
that runs out, the oldest one of the address that has the most must go. Places for associations are taken by admitted
peers only, so unknown peers cannot use them up; and one known peer leaves some to the others.
"""

import threading
from collections import Counter
from collections.abc import Hashable
from typing import Protocol

MAXIMUM_WAITING = 512
"""Connections without association, at once: a silent one keeps its thread for 15 s at most."""


class Caller(Protocol):
    """A connection from somewhere."""

    @property
    def address(self) -> str:
        """Where it comes from."""
        ...

    def evict(self) -> None:
        """End it soon. Does not wait."""
        ...


class Places:
    """Safe to use from several threads."""

    def __init__(self, *, associations: int, associations_per_peer: int, waiting: int = MAXIMUM_WAITING) -> None:
        self._associations = associations
        self._per_peer = associations_per_peer
        self._maximum_waiting = waiting
        self._waiting: dict[Caller, None] = {}
        self._established: Counter[Hashable] = Counter()
        self._lock = threading.Lock()

    def arrive(self, caller: Caller) -> None:
        """A connection was accepted; somebody else's may have to go for it."""
        with self._lock:
            surplus = len(self._waiting) >= self._maximum_waiting
            oldest = self._oldest_of_busiest() if surplus else None
            if oldest is not None:
                del self._waiting[oldest]
            self._waiting[caller] = None
        if oldest is not None:
            oldest.evict()

    def leave(self, caller: Caller) -> None:
        """It waits no longer: it is closed, or has its association."""
        with self._lock:
            self._waiting.pop(caller, None)

    def take(self, peer: Hashable) -> bool:
        """A place for an association of that peer; false where there is none."""
        with self._lock:
            if self._established.total() >= self._associations or self._established[peer] >= self._per_peer:
                return False
            self._established[peer] += 1
            return True

    def give_back(self, peer: Hashable) -> None:
        """The place of an association that ended."""
        with self._lock:
            self._established[peer] -= 1
            if not self._established[peer]:
                del self._established[peer]

    def _oldest_of_busiest(self) -> Caller:
        (busiest, _), *_ = Counter(caller.address for caller in self._waiting).most_common(1)
        return next(caller for caller in self._waiting if caller.address == busiest)
