"""When a study counts as complete: a table."""

from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.assembly import SeriesProgress, VerdictKind, judge

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
SETTLE = timedelta(seconds=60)
STALE = timedelta(seconds=900)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def series(last_s: float, *, connected: bool = False, uid: str = "1.2") -> SeriesProgress:
    return SeriesProgress(series_uid=uid, last_received_at=at(last_s), association_open=connected)


@pytest.mark.parametrize(
    ("parts", "started_s", "now_s", "kind", "until_s"),
    [
        ([series(0)], -999, 0, VerdictKind.WAIT, 60),
        ([series(0)], -999, 59.9, VerdictKind.WAIT, 60),
        ([series(0)], -999, 60, VerdictKind.READY, 60),
        ([series(0), series(50, uid="1.3")], -999, 60, VerdictKind.WAIT, 110),
        ([series(0), series(50, uid="1.3")], -999, 110, VerdictKind.READY, 110),
        # A sender that is still connected holds the study back, however quiet it is …
        ([series(0, connected=True)], -999, 600, VerdictKind.WAIT, 900),
        # … until it has been silent for too long.
        ([series(0, connected=True)], -999, 900, VerdictKind.STALE, 900),
        ([series(0, connected=True), series(880, uid="1.3")], -999, 900, VerdictKind.WAIT, 940),
        ([series(0, connected=True), series(880, connected=True, uid="1.3")], -999, 900, VerdictKind.WAIT, 1780),
        # While the node was down nobody could send.
        ([series(-5000)], 0, 10, VerdictKind.WAIT, 60),
        ([series(-5000)], 0, 60, VerdictKind.READY, 60),
    ],
)
def test_judge(parts: list[SeriesProgress], started_s: float, now_s: float, kind: VerdictKind, until_s: float) -> None:
    verdict = judge(parts, now=at(now_s), settle=SETTLE, node_started_at=at(started_s), stale_after=STALE)
    assert verdict.kind is kind
    assert verdict.until == at(until_s)
    assert verdict.reason


def test_no_settle_time_means_at_once() -> None:
    verdict = judge([series(0)], now=at(0), settle=timedelta(), node_started_at=at(-1), stale_after=STALE)
    assert verdict.kind is VerdictKind.READY


def test_a_study_has_a_series() -> None:
    with pytest.raises(ValueError, match="empty"):
        judge([], now=START, settle=SETTLE, node_started_at=START, stale_after=STALE)
