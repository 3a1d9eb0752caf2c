"""Durable queues on DBOS Transact, in the same SQLite file as the index.

The only module that imports ``dbos`` (measured choice: it was the only engine with durable queues on SQLite
and PostgreSQL). Workflows carry identifiers only, as portable JSON, and have no steps: a handler is made so
that it can run again from its start, because the index says what is done already. The application version is
pinned: its default, a hash of the code, would strand queued work after an upgrade.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, EnqueueOptions

from dicom_node.logs import quiet_libraries

APPLICATION_VERSION = "1"
"""Counts up only when queued workflows of an older node could not be understood any more."""
EXECUTOR_ID = "embedded"
"""Stable: after a crash the next process with this id takes its workflows up again."""
STUDIES = "studies"
DELIVERIES = "deliveries"
POLL_S = 0.2
"""Pause between looks at a queue; each look is one indexed read."""
LIVE = ("ENQUEUED", "DELAYED", "PENDING")
KEEP_ENDED = timedelta(days=7)
"""Ended workflows are kept that long for people to look at; our own tables hold the outcome."""
MOST_ENDED = 10_000
"""Of them at most: every look at an engine that is away ends one, for each study that waits."""
PRUNED_AT_ONCE = 5_000
"""Every minute: more than studies by the hundred end while they wait."""

ProcessHandler = Callable[[str], None]
DeliverHandler = Callable[[str, str], None]
ReportHandler = Callable[[str, str], None]


class WorkQueue:
    """The writing end: adds work that the node, in this or another process, will do."""

    def __init__(self, database: Path) -> None:
        self._client = DBOSClient(
            system_database_url=f"sqlite:///{database}", serializer=DBOSPortableJSONSerializer(), lazy=True
        )

    def enqueue_process(self, connection: sa.Connection, job_id: str, *, delay_s: float = 0.0) -> str:
        """Queue the analysis of a job inside the caller's transaction. Returns the workflow id."""
        options: EnqueueOptions = {
            "workflow_name": "process_study",
            "queue_name": STUDIES,
            "workflow_id": f"process/{uuid.uuid4()}",
            "app_version": APPLICATION_VERSION,
        }
        return self._enqueue(connection, options, delay_s, job_id)

    def enqueue_delivery(
        self, connection: sa.Connection, job_id: str, destination: str, *, delay_s: float = 0.0
    ) -> str:
        """Queue one attempt to deliver inside the caller's transaction. Returns the workflow id."""
        options: EnqueueOptions = {
            "workflow_name": "deliver_results",
            "queue_name": DELIVERIES,
            "workflow_id": f"deliver/{uuid.uuid4()}",
            "app_version": APPLICATION_VERSION,
            "queue_partition_key": destination,
        }
        return self._enqueue(connection, options, delay_s, job_id, destination)

    def enqueue_report(
        self, connection: sa.Connection, peer: str, transaction_uid: str, *, delay_s: float = 0.0
    ) -> str:
        """Queue one attempt to report on a commitment inside the caller's transaction. Returns the workflow id."""
        options: EnqueueOptions = {
            "workflow_name": "report_commitment",
            "queue_name": DELIVERIES,
            "workflow_id": f"report/{uuid.uuid4()}",
            "app_version": APPLICATION_VERSION,
            "queue_partition_key": f"report to {peer}",
        }
        return self._enqueue(connection, options, delay_s, peer, transaction_uid)

    def _enqueue(self, connection: sa.Connection, options: EnqueueOptions, delay_s: float, *arguments: str) -> str:
        if delay_s > 0:
            options["delay_seconds"] = delay_s
        self._client.enqueue_in_transaction(connection, options, *arguments)
        return options["workflow_id"]

    def close(self) -> None:
        """Let go of the database."""
        self._client.destroy()


class Durable(WorkQueue):
    """Queues that survive a crash, with the threads that work on them. One per process (DBOS is a singleton)."""

    def __init__(self, database: Path) -> None:
        super().__init__(database)
        DBOS(
            config=DBOSConfig(
                name="dicom-node",
                system_database_url=f"sqlite:///{database}",
                application_version=APPLICATION_VERSION,
                executor_id=EXECUTOR_ID,
                serializer=DBOSPortableJSONSerializer(),
                log_level="WARNING",
                notification_listener_polling_interval_sec=1.0,
                scheduler_polling_interval_sec=1.0,
            )
        )

    def launch(self, *, process: ProcessHandler, deliver: DeliverHandler, report: ReportHandler) -> None:
        """Start working, first on what a crash left behind."""

        @DBOS.workflow(name="process_study", max_recovery_attempts=None)
        def process_study(job_id: str) -> None:
            process(job_id)

        @DBOS.workflow(name="deliver_results", max_recovery_attempts=None)
        def deliver_results(job_id: str, destination: str) -> None:
            deliver(job_id, destination)

        @DBOS.workflow(name="report_commitment", max_recovery_attempts=None)
        def report_commitment(peer: str, transaction_uid: str) -> None:
            report(peer, transaction_uid)

        DBOS.launch()
        quiet_libraries()
        # One study at a time: models use all cores, and memory for one volume is what the operator sized for.
        DBOS.register_queue(STUDIES, worker_concurrency=1, polling_interval_sec=POLL_S, on_conflict="always_update")
        # A destination that is slow or down never delays another.
        DBOS.register_queue(
            DELIVERIES, partition_worker_concurrency=1, polling_interval_sec=POLL_S, on_conflict="always_update"
        )

    def is_live(self, workflow_id: str) -> bool:
        """Whether the engine will still run, or is running, this workflow."""
        found = DBOS.list_workflows(workflow_ids=[workflow_id], load_input=False, load_output=False)
        return any(workflow.status in LIVE for workflow in found)

    def prune(self) -> None:
        """Forget workflows that ended long ago, and the oldest where there are many."""
        look = partial(
            DBOS.list_workflows, status=["SUCCESS", "ERROR", "CANCELLED"], load_input=False, load_output=False
        )
        old = look(completed_before=(datetime.now(UTC) - KEEP_ENDED).isoformat(), limit=PRUNED_AT_ONCE)
        many = look(sort_desc=True, offset=MOST_ENDED, limit=PRUNED_AT_ONCE)
        forgotten = {workflow.workflow_id for workflow in (*old, *many)}
        if forgotten:
            DBOS.delete_workflows(sorted(forgotten))

    def stop(self) -> None:
        """Stop polling. Workflows that are running are taken up again by the next start."""
        self.close()
        DBOS.destroy(destroy_registry=True)
