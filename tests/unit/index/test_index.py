"""The index on a real SQLite file: generations, jobs and deliveries."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.index import Arrival, Index, JobTable, Overview, open_database
from dicom_node.records import (
    DeliveryState,
    InstanceFacts,
    Part10File,
    ResultKind,
    ResultObject,
    SeriesDecision,
    StoredInstance,
    StudyState,
)

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def instance(number: int, *, study: str = "1.2", series: str = "1.2.3", content: str = "a") -> StoredInstance:
    facts = InstanceFacts(
        sop_instance_uid=f"{series}.{number}", sop_class_uid="1.2.840.10008.5.1.4.1.1.2", study_uid=study,
        series_uid=series, transfer_syntax_uid="1.2.840.10008.1.2.1", modality="CT", image_type=("ORIGINAL",),
        series_number=1, series_description="", instance_number=number, body_part="", kernel="", contrast_agent="",
        slice_thickness_mm=None, gantry_tilt_deg=None, rows=None, columns=None, frames=(),
        frame_of_reference_uid="", burned_in_annotation="",
    )  # fmt: skip
    file = Part10File(Path(f"/spool/{series}.{number}"), 0, 1)
    return StoredInstance(facts=facts, file=file, digest=content, size_bytes=1)


def result(uid: str, kind: ResultKind = ResultKind.REPORT) -> ResultObject:
    return ResultObject(kind=kind, sop_instance_uid=uid, sop_class_uid="1.2", series_uid="9.9", path=Path(f"/r/{uid}"))


@pytest.fixture
def database(tmp_path: Path) -> sa.Engine:
    return open_database(tmp_path / "node.sqlite")


@pytest.fixture
def index(database: sa.Engine) -> Index:
    return Index(database)


@pytest.fixture
def jobs(database: sa.Engine) -> JobTable:
    return JobTable(database)


def arrival(stored: StoredInstance, second: int = 0) -> Arrival:
    return Arrival(instance=stored, received_at=START + timedelta(seconds=second), calling_ae="CT1")


def add(index: Index, stored: StoredInstance, second: int = 0) -> tuple[str, ...]:
    return index.add_instances([arrival(stored, second)])


def close(index: Index, now_s: int = 100) -> str:
    (progress,) = index.receiving()
    job_id = index.close_generation(
        progress, now=START + timedelta(seconds=now_s), reason="quiet", enqueue=lambda _c, _j: "workflow"
    )
    assert job_id is not None
    return job_id


def finish(jobs: JobTable, job_id: str, objects: list[ResultObject], destinations: tuple[str, ...] = ("pacs",)) -> None:
    enqueue: Callable[[sa.Connection], str] = lambda _connection: "delivery"  # noqa: E731
    jobs.finish(
        job_id,
        now=START,
        findings='{"status": "negative"}',
        series_decisions=[SeriesDecision(series_uid="1.2.3", pipeline="p", reason="chosen")],
        objects=objects,
        stand_ins={},
        destinations={name: (tuple(ResultKind), enqueue) for name in destinations},
    )


def test_a_row_survives_reopening_and_comes_back_equal(index: Index, tmp_path: Path) -> None:
    stored = instance(1)
    assert add(index, stored) == ()
    assert Index(open_database(tmp_path / "node.sqlite")).find_instance("1.2.3.1") == stored


def test_same_uid_keeps_the_first_content(index: Index) -> None:
    add(index, instance(1, content="first"))
    assert add(index, instance(1, content="second")) == ("1.2.3.1",)
    (series,) = index.series_of_study("1.2", generation=1)
    assert [one.digest for one in series.instances] == ["first"]


def test_a_batch_is_what_its_rows_are_one_by_one(index: Index) -> None:
    add(index, instance(1))
    close(index)
    batch = [arrival(instance(number), second=200 + number) for number in (1, 2, 3, 2)]
    batch.append(arrival(instance(3, content="second"), second=300))
    assert index.add_instances(batch) == ("1.2.3.3",)
    (progress,) = index.receiving()
    assert progress.generation == 2
    assert max(progress.last_received_at.values()) == START + timedelta(seconds=203)
    (series,) = index.series_of_study("1.2", generation=2)
    assert [one.facts.sop_instance_uid for one in series.instances] == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
    assert index.add_instances([]) == ()


def test_a_batch_that_cannot_be_committed_leaves_no_row(index: Index, database: sa.Engine) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER sick BEFORE INSERT ON instances WHEN NEW.sop_instance_uid = '1.2.3.2' "
            "BEGIN SELECT RAISE(FAIL, 'sick'); END"
        )
    with pytest.raises(sa.exc.IntegrityError):
        index.add_instances([arrival(instance(1)), arrival(instance(2))])
    assert index.find_instance("1.2.3.1") is None
    assert index.receiving() == ()


def test_synchronisation_is_full_and_journal_is_wal(database: sa.Engine) -> None:
    with database.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_instance_between_judgement_and_commit_prevents_the_job(index: Index) -> None:
    add(index, instance(1))
    (progress,) = index.receiving()
    add(index, instance(2), second=1)
    assert index.close_generation(progress, now=START, reason="", enqueue=lambda _c, _j: "w") is None
    assert index.receiving()[0].last_received_at["1.2.3"] == START + timedelta(seconds=1)


def test_failing_enqueue_leaves_no_job(index: Index, jobs: JobTable) -> None:
    add(index, instance(1))
    (progress,) = index.receiving()

    def broken(_connection: sa.Connection, _job_id: str) -> str:
        raise RuntimeError("engine away")

    with pytest.raises(RuntimeError):
        index.close_generation(progress, now=START, reason="", enqueue=broken)
    assert jobs.unfinished() == ()
    assert len(index.receiving()) == 1


def test_late_instance_opens_a_generation_and_leaves_the_running_job_alone(index: Index, jobs: JobTable) -> None:
    add(index, instance(1))
    first = close(index)
    add(index, instance(2), second=200)
    second = close(index, now_s=300)
    assert (first, second) == ("1.2/1", "1.2/2")
    assert len(index.series_of_study("1.2", generation=1)[0].instances) == 1
    assert len(index.series_of_study("1.2", generation=2)[0].instances) == 2
    assert [job.generation for job in jobs.unfinished()] == [1, 2]


def test_a_repeat_of_a_known_instance_opens_nothing(index: Index) -> None:
    add(index, instance(1))
    close(index)
    add(index, instance(1), second=200)
    assert index.receiving() == ()


def test_own_result_routed_back_is_kept_but_is_no_work(index: Index, jobs: JobTable) -> None:
    add(index, instance(1))
    job_id = close(index)
    finish(jobs, job_id, [result("9.9.1")])
    returned = instance(1, series="9.9")
    add(index, returned, second=300)
    assert index.find_instance("9.9.1") is not None
    assert index.receiving() == ()
    assert all(series.series_uid != "9.9" for series in index.series_of_study("1.2", generation=9))


def test_begin_counts_starts_and_stops_after_the_end(index: Index, jobs: JobTable) -> None:
    add(index, instance(1))
    job_id = close(index)
    assert [jobs.begin(job_id).starts, jobs.begin(job_id).starts] == [1, 2]  # type: ignore[union-attr]
    finish(jobs, job_id, [result("9.9.1")])
    assert jobs.begin(job_id) is None


def test_deliveries_end_one_by_one_and_settle_the_study(index: Index, jobs: JobTable, database: sa.Engine) -> None:
    add(index, instance(1))
    job_id = close(index)
    finish(jobs, job_id, [result("9.9.1"), result("9.8.1", ResultKind.SEGMENTATION)], ("pacs", "research"))
    for destination in ("pacs", "research"):
        for pending in jobs.pending(job_id, destination):
            assert jobs.settle_deliveries(job_id, now=START) is None
            jobs.record_delivery(
                job_id, destination=destination, sop_instance_uid=pending.result.sop_instance_uid,
                state=DeliveryState.DELIVERED, error="", now=START,
            )  # fmt: skip
    assert jobs.settle_deliveries(job_id, now=START) is StudyState.DONE
    study = Overview(database).study("1.2")
    assert study is not None
    assert study["state"] == "done"
    assert len(study["deliveries"]) == 4  # type: ignore[arg-type]


def test_refused_object_fails_the_study_with_its_reason(index: Index, jobs: JobTable, database: sa.Engine) -> None:
    add(index, instance(1))
    job_id = close(index)
    finish(jobs, job_id, [result("9.9.1")])
    jobs.record_delivery(
        job_id, destination="pacs", sop_instance_uid="9.9.1", state=DeliveryState.REFUSED, error="0122", now=START
    )
    assert jobs.settle_deliveries(job_id, now=START) is StudyState.FAILED
    (line,) = Overview(database).studies()
    assert line.reason == "results not delivered: pacs: 0122"
    assert jobs.undelivered_destinations(job_id) == ("pacs",)


def test_object_that_an_earlier_job_delivered_is_not_sent_again(index: Index, jobs: JobTable) -> None:
    add(index, instance(1))
    first = close(index)
    finish(jobs, first, [result("9.9.1")])
    jobs.record_delivery(
        first, destination="pacs", sop_instance_uid="9.9.1", state=DeliveryState.DELIVERED, error="", now=START
    )
    add(index, instance(2), second=200)
    second = close(index, now_s=300)
    finish(jobs, second, [result("9.9.1"), result("9.9.2")])
    assert [pending.result.sop_instance_uid for pending in jobs.pending(second, "pacs")] == ["9.9.2"]


def test_job_without_destinations_is_done(index: Index, jobs: JobTable) -> None:
    add(index, instance(1))
    job_id = close(index)
    finish(jobs, job_id, [result("9.9.1")], ())
    assert jobs.job(job_id).state is StudyState.DONE


def test_state_of_a_study_follows_its_newest_generation(index: Index, jobs: JobTable, database: sa.Engine) -> None:
    add(index, instance(1))
    old = close(index)
    add(index, instance(2), second=200)
    finish(jobs, old, [result("9.9.1")], ())
    assert Overview(database).studies()[0].state == "receiving"
    assert Overview(database).count_by_state() == {"receiving": 1}
