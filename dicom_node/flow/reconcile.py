"""Compares the index with the workflows, at start and every minute: no study without a live or ended story.

Workflows can be lost to us in ways that the engine does not mend (an error row after a full disk, rows deleted
by hand). The index is the truth; what it calls unfinished gets a new workflow.
"""

import threading
from functools import partial

import structlog

from dicom_node.flow.commit import Committer
from dicom_node.flow.durable import Durable
from dicom_node.index import JobTable
from dicom_node.index.received import utc_now

log = structlog.get_logger(__name__)

PERIOD_S = 60.0


class Reconciler:
    """One thread; ``reconcile_once`` may be called by itself."""

    def __init__(self, *, jobs: JobTable, durable: Durable, committer: Committer) -> None:
        self._committer = committer
        self._jobs = jobs
        self._durable = durable
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin, with a first comparison at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the comparison that is under way."""
        self._stopping.set()
        self._thread.join()

    def reconcile_once(self) -> int:
        """Queue again whatever lost its workflow. Returns how much that was."""
        mended = 0
        for job in self._jobs.unfinished():
            # Read the row again after the engine's answer: the job may have ended in between.
            if not self._durable.is_live(job.workflow_id) and self._still_unfinished(job.job_id, job.workflow_id):
                self._jobs.requeue(
                    job.job_id,
                    now=utc_now(),
                    why="its workflow was lost",
                    enqueue=partial(self._durable.enqueue_process, job_id=job.job_id),
                )
                mended += 1
        for job_id, destination, workflow_id in self._jobs.waiting_deliveries():
            if not self._durable.is_live(workflow_id) and (
                (job_id, destination, workflow_id) in self._jobs.waiting_deliveries()
            ):
                self._jobs.defer_deliveries(
                    job_id,
                    destination,
                    until=utc_now(),
                    enqueue=partial(self._durable.enqueue_delivery, job_id=job_id, destination=destination),
                )
                mended += 1
        mended += self._committer.reconcile(self._durable.is_live)
        if mended:
            log.warning("reconciled", queued_again=mended)
        self._durable.prune()
        self._committer.prune()
        return mended

    def _still_unfinished(self, job_id: str, workflow_id: str) -> bool:
        return any(job.job_id == job_id and job.workflow_id == workflow_id for job in self._jobs.unfinished())

    def _run(self) -> None:
        while True:
            try:
                self.reconcile_once()
            except Exception:
                log.exception("reconcile_failed")
            if self._stopping.wait(PERIOD_S):
                return
