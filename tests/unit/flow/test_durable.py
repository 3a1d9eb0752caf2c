"""The workflow engine on a real SQLite file: lost work is found again, and an operator's retry does what it says."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.flow.commit import Committer
from dicom_node.flow.durable import Durable
from dicom_node.flow.reconcile import Reconciler
from dicom_node.flow.retry import retry_study
from dicom_node.index import Arrival, CommitmentTable, Index, JobTable, open_database
from dicom_node.records import (
    DeliveryState,
    InstanceFacts,
    Part10File,
    ResultKind,
    ResultObject,
    StoredInstance,
    StudyState,
)
from dicom_node.spool import SegmentSpool

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE_S = 20.0
STUDY = "1.2"
RESULT = ResultObject(
    kind=ResultKind.REPORT, sop_instance_uid="9.9.1", sop_class_uid="1.2", series_uid="9.9", path=Path("/r")
)


class Worked:
    """What the queues called, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.changed = threading.Condition()

    def note(self, *call: str) -> None:
        with self.changed:
            self.calls.append(call)
            self.changed.notify_all()

    def wait_for(self, *call: str) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: call in self.calls, PATIENCE_S)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


@pytest.fixture
def jobs(database: Path) -> JobTable:
    """A table with one complete study whose job names a workflow that does not exist."""
    engine = open_database(database)
    index = Index(engine)
    facts = InstanceFacts(
        sop_instance_uid="1.2.3.1", sop_class_uid="1.2.840.10008.5.1.4.1.1.2", study_uid=STUDY, series_uid="1.2.3",
        transfer_syntax_uid="1.2.840.10008.1.2.1", modality="CT", image_type=(), series_number=1,
        series_description="", instance_number=1, body_part="", kernel="", contrast_agent="", slice_thickness_mm=None,
        gantry_tilt_deg=None, rows=None, columns=None, frames=(), frame_of_reference_uid="", burned_in_annotation="",
    )  # fmt: skip
    stored = StoredInstance(facts=facts, file=Part10File(Path("/s"), 0, 1), digest="a", size_bytes=1)
    index.add_instances([Arrival(instance=stored, received_at=NOW, calling_ae="CT1")])
    (progress,) = index.receiving()
    assert index.close_generation(progress, now=NOW, reason="quiet", enqueue=lambda _c, _j: "lost") == "1.2/1"
    return JobTable(engine)


@pytest.fixture
def worked() -> Worked:
    return Worked()


@pytest.fixture
def durable(database: Path, jobs: JobTable, worked: Worked) -> Iterator[Durable]:
    running = Durable(database)
    running.launch(
        process=partial(worked.note, "process"),
        deliver=partial(worked.note, "deliver"),
        report=partial(worked.note, "report"),
    )
    yield running
    running.stop()


@pytest.fixture
def reconciler(database: Path, jobs: JobTable, durable: Durable, tmp_path: Path) -> Reconciler:
    engine = open_database(database)
    committer = Committer(
        commitments=CommitmentTable(engine), index=Index(engine), spool=SegmentSpool(tmp_path / "spool"), queue=durable,
        peers={}, flush=lambda: None,
    )  # fmt: skip
    return Reconciler(jobs=jobs, durable=durable, committer=committer)


def finish(jobs: JobTable) -> None:
    nothing = lambda _connection: "lost"  # noqa: E731
    jobs.finish(
        "1.2/1", now=NOW, findings="", series_decisions=[], objects=[RESULT], stand_ins={},
        destinations={"pacs": (tuple(ResultKind), nothing)},
    )  # fmt: skip


def test_job_whose_workflow_was_lost_is_queued_again(jobs: JobTable, reconciler: Reconciler, worked: Worked) -> None:
    assert reconciler.reconcile_once() == 1
    assert worked.wait_for("process", "1.2/1")


def test_delivery_whose_workflow_was_lost_is_queued_again(
    jobs: JobTable, reconciler: Reconciler, worked: Worked
) -> None:
    finish(jobs)
    assert reconciler.reconcile_once() == 1
    assert worked.wait_for("deliver", "1.2/1", "pacs")


def test_live_work_is_left_alone(jobs: JobTable, durable: Durable, reconciler: Reconciler) -> None:
    jobs.requeue(
        "1.2/1", now=NOW, why="later", enqueue=partial(durable.enqueue_process, job_id="1.2/1", delay_s=3600.0)
    )
    assert reconciler.reconcile_once() == 0


def test_enqueued_work_vanishes_with_its_transaction(
    jobs: JobTable, durable: Durable, reconciler: Reconciler, worked: Worked, database: Path
) -> None:
    engine = open_database(database)
    with engine.connect() as connection:
        durable.enqueue_process(connection, "rolled-back")
        connection.rollback()
    reconciler.reconcile_once()
    assert worked.wait_for("process", "1.2/1")  # queued later, done by now
    assert ("process", "rolled-back") not in worked.calls


def test_retry_while_queued_does_nothing(jobs: JobTable, durable: Durable) -> None:
    assert retry_study(jobs, durable, STUDY).startswith("nothing to retry: the analysis is queued")
    assert retry_study(jobs, durable, "9.8.7").startswith("nothing to retry: the study is still being received")


def test_retry_of_a_refused_delivery_sends_again(jobs: JobTable, durable: Durable, worked: Worked) -> None:
    finish(jobs)
    jobs.record_delivery(
        "1.2/1", destination="pacs", sop_instance_uid="9.9.1", state=DeliveryState.REFUSED, error="0122", now=NOW
    )
    jobs.settle_deliveries("1.2/1", now=NOW)
    assert retry_study(jobs, durable, STUDY) == "queued: delivery to pacs"
    assert worked.wait_for("deliver", "1.2/1", "pacs")
    assert len(jobs.pending("1.2/1", "pacs")) == 1


def test_retry_of_a_finished_study_analyses_it_again(jobs: JobTable, durable: Durable, worked: Worked) -> None:
    finish(jobs)
    jobs.record_delivery(
        "1.2/1", destination="pacs", sop_instance_uid="9.9.1", state=DeliveryState.DELIVERED, error="", now=NOW
    )
    assert jobs.settle_deliveries("1.2/1", now=NOW) is StudyState.DONE
    assert retry_study(jobs, durable, STUDY) == "queued: analysis and delivery"
    assert worked.wait_for("process", "1.2/1")


def test_rows_of_the_index_and_of_the_engine_share_a_file(jobs: JobTable, durable: Durable, database: Path) -> None:
    tables = set(sa.inspect(open_database(database)).get_table_names())
    assert {"jobs", "workflow_status"} <= tables
