"""Watches studies that are being received and hands the complete ones to a job.

The judgement is ``assembly.judge``; this thread only supplies facts and acts. A restart counts as an arrival:
while the node was down nobody could send, so downtime is not quiet time.
"""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from dicom_node.assembly import SeriesProgress, VerdictKind, judge
from dicom_node.flow.durable import Durable
from dicom_node.index import Index, StudyProgress
from dicom_node.index.received import utc_now
from dicom_node.settings import CompletenessSettings

log = structlog.get_logger(__name__)

LONGEST_TICK_S = 1.0
SHORTEST_TICK_S = 0.05
TICKS_PER_SETTLE_TIME = 10
"""A complete study waits at most a tenth of the settle time longer than it must."""


class CompletenessWatch:
    """One thread that judges every study in reception, over and over."""

    def __init__(
        self,
        *,
        index: Index,
        durable: Durable,
        settings: CompletenessSettings,
        open_series: Callable[[], frozenset[str]],
    ) -> None:
        self._index = index
        self._durable = durable
        self._settings = settings
        self._open_series = open_series
        self._started_at = utc_now()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="completeness", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the look that is under way."""
        self._stopping.set()
        self._thread.join()

    def alive(self) -> bool:
        """Whether the watch is running; a node without it receives but never analyses."""
        return self._thread.is_alive()

    def look_once(self, now: datetime) -> int:
        """Judge every study in reception at ``now``. Returns how many jobs were made."""
        open_series = self._open_series()
        return sum(self._judge(progress, open_series, now) for progress in self._index.receiving())

    def _judge(self, progress: StudyProgress, open_series: frozenset[str], now: datetime) -> bool:
        verdict = judge(
            tuple(
                SeriesProgress(series_uid=uid, last_received_at=newest, association_open=uid in open_series)
                for uid, newest in progress.last_received_at.items()
            ),
            now=now,
            settle=timedelta(seconds=self._settings.settle_s),
            node_started_at=self._started_at,
            stale_after=timedelta(seconds=self._settings.stale_after_s),
        )
        if verdict.kind is VerdictKind.WAIT:
            return False
        job_id = self._index.close_generation(
            progress, now=now, reason=verdict.reason, enqueue=self._durable.enqueue_process
        )
        if job_id is not None:
            log.info("study_complete", study_uid=progress.study_uid, job_id=job_id, reason=verdict.reason)
        return job_id is not None

    def _run(self) -> None:
        tick_s = min(max(self._settings.settle_s / TICKS_PER_SETTLE_TIME, SHORTEST_TICK_S), LONGEST_TICK_S)
        while not self._stopping.wait(tick_s):
            try:
                self.look_once(utc_now())
            except Exception:
                log.exception("completeness_look_failed")
