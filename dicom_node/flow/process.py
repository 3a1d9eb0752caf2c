"""The job boundary of an analysis: run it, retry it, or say in a coded result why not. Never silence.

While the place where models run is away, studies wait for it, for as long as the settings say; that is no fault of
theirs and counts as no start.

A job whose start is counted but whose end is not has taken the process with it (a decoder crash, the kernel's
memory killer). After ``MAXIMUM_STARTS`` of those it is not tried again: the study is reported as not analysed.
"""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog

from dicom_node.delivery.fallbacks import stand_ins
from dicom_node.errors import NodeError, TransientError
from dicom_node.flow.analysis import Analyst, unanalysed_request
from dicom_node.flow.durable import Durable
from dicom_node.index import Index, Job, JobTable
from dicom_node.index.received import utc_now
from dicom_node.records import ResultKind, Series
from dicom_node.results import ResultRequest, findings_document, write_results
from inference.engines.base import WELL, EngineError, EngineUnavailable

log = structlog.get_logger(__name__)

MAXIMUM_STARTS = 10
"""Starts of one job, crashes and transient failures together."""
RETRY_FIRST_S = 5.0
RETRY_LONGEST_S = 300.0
ENGINE_RETRY_SHARE = 0.25
"""Of the time that a study has waited for its engine already: the next pause, within the two limits below."""
ENGINE_RETRY_FIRST_S = 5.0
ENGINE_RETRY_LONGEST_S = 30.0
"""A server that is back is found within this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """Runs the analysis of a job from its start, however often that is needed."""

    index: Index
    jobs: JobTable
    durable: Durable
    analyst: Analyst
    engine_patience_s: float
    """How long a study may wait for an engine that is away, from when it was first found away."""
    results_folder: Path
    destinations: Mapping[str, tuple[ResultKind, ...]]
    stopping: threading.Event

    def process(self, job_id: str) -> None:
        """Workflow handler. Raises nothing but what ends the process."""
        job = self.jobs.begin(job_id)
        if job is None:
            return
        with structlog.contextvars.bound_contextvars(job_id=job_id, study_uid=job.study_uid):
            series = self.index.series_of_study(job.study_uid, generation=job.generation)
            try:
                self._run(job, series)
            except Exception as error:  # noqa: BLE001 - the job boundary: records, then retries or reports
                self._after_failure(job, series, error)

    def _run(self, job: Job, series: tuple[Series, ...]) -> None:
        if job.starts > MAXIMUM_STARTS:
            self._report_failure(job, series, f"the analysis was started {MAXIMUM_STARTS} times and never ended")
            return
        if (health := self.analyst.engine_health(series)) != WELL:
            raise EngineUnavailable(health)  # before decoding: it may be asked many times
        request = self.analyst.analyse(
            study_uid=job.study_uid, series=series, created_at=job.created_at, cancelled=self.stopping.is_set
        )
        self._write(job, request)

    def _after_failure(self, job: Job, series: tuple[Series, ...], error: Exception) -> None:
        if self.stopping.is_set():
            return  # the next process starts the job again: its row still says "analysing"
        since = self.jobs.waits_since(job.job_id)
        waited_s = 0.0 if since is None else _age_s(since)
        if isinstance(error, EngineUnavailable) and waited_s < self.engine_patience_s:
            self._wait_for_engine(job, error, waited_s)
            return
        transient = isinstance(error, TransientError) or (isinstance(error, EngineError) and error.transient)
        log.exception("analysis_failed", starts=job.starts, transient=transient)
        if transient and job.starts < MAXIMUM_STARTS:
            pause = min(RETRY_FIRST_S * 2 ** (job.starts - 1), RETRY_LONGEST_S)
            self.jobs.requeue(
                job.job_id,
                now=utc_now(),
                why=f"{error} (again in {pause:.0f} s)",
                enqueue=partial(self.durable.enqueue_process, job_id=job.job_id, delay_s=pause),
            )
            return
        # Text of foreign exceptions may quote received data; our own and the engines' messages do not.
        cause = str(error) if isinstance(error, NodeError | EngineError) else type(error).__name__
        try:
            self._report_failure(job, series, f"the analysis failed in the node ({cause}); its log names this study")
        except Exception as second:
            log.exception("report_of_failure_failed")
            self.jobs.park(
                job.job_id, now=utc_now(), reason=f"no result could be written ({type(second).__name__}: see the log)"
            )

    def _wait_for_engine(self, job: Job, away: EngineUnavailable, waited_s: float) -> None:
        pause = engine_pause_s(waited_s)
        log.warning("engine_unavailable", reason=str(away), again_in_s=round(pause, 1))
        self.jobs.requeue(
            job.job_id,
            now=utc_now(),
            why=f"waits for the models: {away}",
            enqueue=partial(self.durable.enqueue_process, job_id=job.job_id, delay_s=pause),
            forgive=1,
        )

    def _report_failure(self, job: Job, series: tuple[Series, ...], reason: str) -> None:
        request = unanalysed_request(
            study_uid=job.study_uid,
            series=series,
            reason=reason,
            created_at=job.created_at,
            software_version=self.analyst.software_version,
        )
        self._write(job, request)

    def _write(self, job: Job, request: ResultRequest) -> None:
        # A folder a workflow: a retry has a workflow of its own and leaves alone what was delivered before.
        name = hashlib.sha256(f"{job.job_id} {job.workflow_id}".encode()).hexdigest()[:32]
        folder = self.results_folder / name
        if folder.exists():
            shutil.rmtree(folder)  # of a start that did not come to its commit: nobody has been told of it
        folder.mkdir(parents=True)
        started = time.perf_counter()
        objects = write_results(request, folder)
        document = findings_document(request)
        written_s = time.perf_counter() - started
        self.jobs.finish(
            job.job_id,
            now=utc_now(),
            findings=json.dumps(document),
            series_decisions=request.decisions,
            objects=objects,
            stand_ins=stand_ins(objects),
            destinations={
                name: (kinds, partial(self.durable.enqueue_delivery, job_id=job.job_id, destination=name))
                for name, kinds in self.destinations.items()
            },
        )
        log.info(
            "study_analysed",
            status=request.findings.status.value,
            reason=request.findings.reason,
            pipeline=request.findings.pipeline,
            series_uid=request.chosen_series_uid,
            objects=len(objects),
            starts=job.starts,
            timings_s={**request.findings.timings_s, "results": round(written_s, 3)},
            since_complete_s=round(_age_s(job.created_at), 3),
        )


def engine_pause_s(waited_s: float) -> float:
    """How long a study that has waited for its engine for ``waited_s`` waits until it is tried again."""
    return min(max(waited_s * ENGINE_RETRY_SHARE, ENGINE_RETRY_FIRST_S), ENGINE_RETRY_LONGEST_S)


def _age_s(since: datetime) -> float:
    return (utc_now() - since).total_seconds()
