"""Refused SOP classes on a real SQLite file: the refusal and what follows from it are one commit."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.delivery.fallbacks import stand_ins
from dicom_node.index import Arrival, Index, JobTable, Overview, open_database
from dicom_node.records import (
    DeliveryState,
    InstanceFacts,
    Part10File,
    ResultKind,
    ResultObject,
    StoredInstance,
    StudyState,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STUDY, JOB, PACS = "1.2", "1.2/1", "pacs"
SEG, REPORT, SUMMARY, KEYS = (
    ResultKind.SEGMENTATION, ResultKind.REPORT, ResultKind.SUMMARY, ResultKind.KEY_OBJECTS,
)  # fmt: skip
WRITTEN = [
    ResultObject(
        kind=kind, sop_instance_uid=f"9.{number}", sop_class_uid="1.2", series_uid=f"8.{number}", path=Path("/r")
    )
    for number, kind in enumerate((SEG, REPORT, SUMMARY, KEYS), start=1)
]
UIDS = {one.kind: one.sop_instance_uid for one in WRITTEN}


@pytest.fixture
def database(tmp_path: Path) -> sa.Engine:
    """A database with one complete study."""
    engine = open_database(tmp_path / "node.sqlite")
    facts = InstanceFacts(
        sop_instance_uid="1.2.3.1", sop_class_uid="1.2.840.10008.5.1.4.1.1.2", study_uid=STUDY, series_uid="1.2.3",
        transfer_syntax_uid="1.2.840.10008.1.2.1", modality="CT", image_type=(), series_number=1,
        series_description="", instance_number=1, body_part="", kernel="", contrast_agent="", slice_thickness_mm=None,
        gantry_tilt_deg=None, rows=None, columns=None, frames=(), frame_of_reference_uid="", burned_in_annotation="",
    )  # fmt: skip
    index = Index(engine)
    stored = StoredInstance(facts=facts, file=Part10File(Path("/s"), 0, 1), digest="a", size_bytes=1)
    index.add_instances([Arrival(instance=stored, received_at=NOW, calling_ae="CT1")])
    (progress,) = index.receiving()
    assert index.close_generation(progress, now=NOW, reason="quiet", enqueue=lambda _c, _j: "process") == JOB
    return engine


@pytest.fixture
def jobs(database: sa.Engine) -> JobTable:
    return JobTable(database)


def finish(jobs: JobTable, **kinds: tuple[ResultKind, ...]) -> None:
    jobs.finish(
        JOB, now=NOW, findings="", series_decisions=[], objects=WRITTEN, stand_ins=stand_ins(WRITTEN),
        destinations={name: (wanted, lambda _connection: "delivery") for name, wanted in kinds.items()},
    )  # fmt: skip


def record(
    jobs: JobTable, kind: ResultKind, state: DeliveryState, to: str = PACS
) -> dict[ResultKind, ResultKind | None]:
    error = "" if state is DeliveryState.DELIVERED else f"no {kind.value}"
    replaced = jobs.record_delivery(
        JOB, destination=to, sop_instance_uid=UIDS[kind], state=state, error=error, now=NOW
    )  # fmt: skip
    return {one.kind: one.instead for one in replaced}


def refuse(jobs: JobTable, kind: ResultKind, to: str = PACS) -> dict[ResultKind, ResultKind | None]:
    return record(jobs, kind, DeliveryState.UNSUPPORTED, to)


def take(jobs: JobTable, kind: ResultKind, to: str = PACS) -> None:
    assert record(jobs, kind, DeliveryState.DELIVERED, to) == {}


def owed(jobs: JobTable, to: str = PACS) -> list[ResultKind]:
    return [one.result.kind for one in jobs.pending(JOB, to)]


def states(database: sa.Engine) -> dict[str, str]:
    study = Overview(database).study(STUDY)
    assert study is not None
    rows = study["deliveries"]
    assert isinstance(rows, list)
    return {one["kind"]: one["state"] + (f" by {one['in_its_place']}" if one["in_its_place"] else "") for one in rows}


def test_refusal_and_the_debt_that_follows_survive_the_process(jobs: JobTable, tmp_path: Path) -> None:
    finish(jobs, pacs=(SEG,))
    assert refuse(jobs, SEG) == {SEG: SUMMARY}
    after_crash = JobTable(open_database(tmp_path / "node.sqlite"))
    assert owed(after_crash) == [SUMMARY]
    assert after_crash.waiting_deliveries() == ((JOB, PACS, "delivery"),)
    take(after_crash, SUMMARY)
    assert owed(after_crash) == []
    assert after_crash.settle_deliveries(JOB, now=NOW) is StudyState.DONE


def test_refusal_that_cannot_be_followed_is_not_noted_either(jobs: JobTable, database: sa.Engine) -> None:
    finish(jobs, pacs=(SEG,))
    with database.begin() as connection:
        connection.execute(
            sa.text("CREATE TRIGGER full BEFORE INSERT ON deliveries BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        )
    with pytest.raises(sa.exc.IntegrityError, match="disk full"):
        refuse(jobs, SEG)
    assert owed(jobs) == [SEG]


def test_what_is_sent_anyway_is_not_owed_twice(jobs: JobTable, database: sa.Engine) -> None:
    finish(jobs, pacs=tuple(ResultKind))
    take(jobs, REPORT)
    assert refuse(jobs, KEYS) == {KEYS: REPORT}
    assert refuse(jobs, SEG) == {KEYS: REPORT, SEG: SUMMARY}
    assert owed(jobs) == [SUMMARY]
    take(jobs, SUMMARY)
    assert jobs.settle_deliveries(JOB, now=NOW) is StudyState.DONE
    assert states(database) == {
        "key_objects": "replaced by report", "report": "delivered", "segmentation": "replaced by summary",
        "summary": "delivered",
    }  # fmt: skip
    (line,) = Overview(database).studies()
    assert line.reason == "pacs: report in place of key_objects, summary in place of segmentation"


def test_stand_in_that_is_refused_has_a_stand_in_of_its_own(jobs: JobTable, database: sa.Engine) -> None:
    finish(jobs, pacs=(KEYS,))
    assert refuse(jobs, KEYS) == {KEYS: REPORT}
    assert refuse(jobs, REPORT) == {KEYS: SUMMARY, REPORT: SUMMARY}
    take(jobs, SUMMARY)
    assert jobs.settle_deliveries(JOB, now=NOW) is StudyState.DONE
    assert states(database)["key_objects"] == "replaced by summary"


def test_destination_that_takes_nothing_fails_the_study_with_every_reason(jobs: JobTable, database: sa.Engine) -> None:
    finish(jobs, pacs=(SEG, REPORT), research=(SEG,))
    refuse(jobs, REPORT)
    refuse(jobs, SEG)
    assert owed(jobs) == [SUMMARY]
    assert refuse(jobs, SUMMARY) == {REPORT: None, SEG: None, SUMMARY: None}
    assert owed(jobs) == []
    assert jobs.settle_deliveries(JOB, now=NOW) is None, "the other destination is still owed"
    take(jobs, SEG, to="research")
    assert jobs.settle_deliveries(JOB, now=NOW) is StudyState.FAILED
    (line,) = Overview(database).studies()
    assert line.reason == "results not delivered: pacs: no report; pacs: no segmentation; pacs: no summary"
    assert jobs.undelivered_destinations(JOB) == (PACS,)


def test_each_destination_has_a_line_of_its_own(jobs: JobTable) -> None:
    finish(jobs, pacs=(SEG,), research=(SEG, SUMMARY))
    refuse(jobs, SUMMARY, to="research")
    assert refuse(jobs, SEG) == {SEG: SUMMARY}
    assert owed(jobs) == [SUMMARY]
    assert set(owed(jobs, "research")) == {SEG, REPORT}


def test_refusal_for_another_reason_is_not_covered(jobs: JobTable) -> None:
    finish(jobs, pacs=(SEG,))
    assert record(jobs, SEG, DeliveryState.REFUSED) == {}
    assert owed(jobs) == []
    assert jobs.settle_deliveries(JOB, now=NOW) is StudyState.FAILED


def test_analysis_of_a_finished_study_offers_again_what_was_replaced(jobs: JobTable) -> None:
    finish(jobs, pacs=(SEG, SUMMARY))
    refuse(jobs, SEG)
    take(jobs, SUMMARY)
    jobs.settle_deliveries(JOB, now=NOW)
    assert jobs.undelivered_destinations(JOB) == ()
    finish(jobs, pacs=(SEG, SUMMARY))
    assert owed(jobs) == [SEG]
    assert refuse(jobs, SEG) == {SEG: SUMMARY}
    assert owed(jobs) == []


def test_database_of_an_older_node_is_opened(jobs: JobTable, database: sa.Engine, tmp_path: Path) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("DROP TABLE stand_ins"))
    reopened = JobTable(open_database(tmp_path / "node.sqlite"))
    finish(reopened, pacs=(SEG,))
    assert refuse(reopened, SEG) == {SEG: SUMMARY}


def test_objects_that_an_older_node_wrote_have_no_stand_in(jobs: JobTable, database: sa.Engine) -> None:
    finish(jobs, pacs=(SEG,))
    with database.begin() as connection:
        connection.execute(sa.text("DELETE FROM stand_ins"))
    assert refuse(jobs, SEG) == {SEG: None}
    assert jobs.settle_deliveries(JOB, now=NOW) is StudyState.FAILED
