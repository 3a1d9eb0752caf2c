"""Refused peers, told once a minute each: a scanner that knocks a thousand times must not push the past out."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from dicom_node.audit.events import AuditEvent

WINDOW_S = 60.0
"""From one telling of an address to the next."""
MOST_ADDRESSES = 1000
"""That are remembered; beyond them the one told first is forgotten, with its count told."""


@dataclass(slots=True)
class _Told:
    """What was told last about an address, and how often it came since."""

    since: float
    last: AuditEvent
    more: int = 0


class Refusals:
    """Decides which alerts go into the trail. Not for several threads at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, _Told] = {}

    def note(self, event: AuditEvent) -> list[AuditEvent]:
        """The events to tell now, for one that is refused at this moment."""
        address = event.alert_subject or ""
        events = self.due()
        known = self._told.get(address)
        if known is not None:
            known.more, known.last = known.more + 1, event
            return events
        if len(self._told) >= MOST_ADDRESSES:
            events += _summary(self._told.pop(next(iter(self._told))))
        self._told[address] = _Told(since=self._clock(), last=event)
        return [*events, event]

    def due(self) -> list[AuditEvent]:
        """Summaries of the addresses whose minute is over."""
        over = [address for address, told in self._told.items() if self._clock() - told.since >= WINDOW_S]
        return [event for address in over for event in _summary(self._told.pop(address))]

    def rest(self) -> list[AuditEvent]:
        """Summaries of all of them: the trail ends."""
        told, self._told = self._told, {}
        return [event for one in told.values() for event in _summary(one)]


def _summary(told: _Told) -> list[AuditEvent]:
    if not told.more:
        return []
    return [replace(told.last, description=f"{told.last.description} ({told.more} times since the alert before)")]
