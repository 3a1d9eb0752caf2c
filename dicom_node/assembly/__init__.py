"""Is this study complete? A pure function from facts and a clock to a verdict with its reason.

DICOM has no end-of-study message that modalities reliably send, so completeness is quiet: no instance for the settle
time, and nobody connected who was sending. Everything that acts on the verdict is in ``flow``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum


class VerdictKind(Enum):
    """What to do about a study."""

    WAIT = "wait"
    """Instances may still come."""
    READY = "ready"
    """Every series has been quiet for the settle time."""
    STALE = "stale"
    """A sender holds its association open but has been silent for too long: go on without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesProgress:
    """What is known about one series in reception."""

    series_uid: str
    last_received_at: datetime
    association_open: bool
    """An association that has sent instances of this series is still established."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do, why, and when to ask again."""

    kind: VerdictKind
    reason: str
    until: datetime
    """The earliest moment at which the verdict can change by itself."""


def judge(
    series: Sequence[SeriesProgress],
    *,
    now: datetime,
    settle: timedelta,
    node_started_at: datetime,
    stale_after: timedelta,
) -> Verdict:
    """Judge a study by its series. Quiet time counts from the later of last arrival and start of the node.

    While the node was down nobody could send, so that time was not quiet. Raises ``ValueError`` without a series.
    """
    newest = max(max(one.last_received_at for one in series), node_started_at)
    open_since = [max(one.last_received_at, node_started_at) for one in series if one.association_open]
    if open_since:
        stale_at = max(open_since) + stale_after
        if now < stale_at:
            return Verdict(
                kind=VerdictKind.WAIT,
                reason=f"{len(open_since)} series may still grow: their sender is connected",
                until=stale_at,
            )
    ready_at = newest + settle
    if now < ready_at:
        return Verdict(kind=VerdictKind.WAIT, reason="the quiet time is not over", until=ready_at)
    if open_since:
        return Verdict(
            kind=VerdictKind.STALE,
            reason=f"a sender is connected but silent for {stale_after.total_seconds():.0f} s",
            until=now,
        )
    return Verdict(kind=VerdictKind.READY, reason=f"quiet for {settle.total_seconds():.0f} s", until=now)
