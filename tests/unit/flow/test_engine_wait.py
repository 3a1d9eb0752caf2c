"""Studies wait for an engine that is away: how long until the next look, and what it leaves in the index."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import accumulate, takewhile
from pathlib import Path

import pytest
from dbos import DBOS

from dicom_node.demonstration.orthanc import free_port
from dicom_node.flow.analysis import Analyst
from dicom_node.flow.durable import Durable
from dicom_node.flow.process import ENGINE_RETRY_LONGEST_S, Processor, engine_pause_s
from dicom_node.index import Arrival, Index, JobTable, Overview, open_database
from dicom_node.index.received import utc_now
from dicom_node.records import InstanceFacts, Part10File, StoredInstance, StudyState
from dicom_node.routing import load_rules
from dicom_node.settings import REPOSITORY_ROOT
from inference.engines.triton import TritonEngine

STUDY = "1.2"
JOB = "1.2/1"


def test_pauses_grow_with_the_wait_and_stay_short_enough_to_notice_a_server() -> None:
    assert engine_pause_s(0.0) == 5.0
    assert engine_pause_s(60.0) == 15.0
    assert engine_pause_s(72 * 3600.0) == ENGINE_RETRY_LONGEST_S == 30.0


def test_a_server_that_is_away_for_a_minute_is_found_within_a_quarter_more() -> None:
    looks = takewhile(lambda at: at < 200, accumulate(range(100), lambda at, _: at + engine_pause_s(at), initial=0.0))
    assert min(at for at in looks if at >= 60) <= 75


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """With one study that was complete long ago."""
    path = tmp_path / "node.sqlite"
    index = Index(open_database(path))
    facts = InstanceFacts(
        sop_instance_uid="1.2.3.1", sop_class_uid="1.2.840.10008.5.1.4.1.1.2", study_uid=STUDY, series_uid="1.2.3",
        transfer_syntax_uid="1.2.840.10008.1.2.1", modality="CT", image_type=(), series_number=1,
        series_description="", instance_number=1, body_part="", kernel="", contrast_agent="", slice_thickness_mm=None,
        gantry_tilt_deg=None, rows=None, columns=None, frames=(), frame_of_reference_uid="", burned_in_annotation="",
    )  # fmt: skip
    instance = StoredInstance(facts=facts, file=Part10File(tmp_path / "absent", 0, 1), digest="a", size_bytes=1)
    index.add_instances([Arrival(instance=instance, received_at=utc_now(), calling_ae="CT1")])
    (progress,) = index.receiving()
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    index.close_generation(progress, now=long_ago, reason="quiet", enqueue=lambda _c, _j: "lost")
    return path


@pytest.fixture
def durable(database: Path) -> Iterator[Durable]:
    running = Durable(database)
    running.launch(process=lambda _job: None, deliver=lambda _job, _destination: None, report=lambda _peer, _uid: None)
    yield running
    running.stop()


def processor(database: Path, durable: Durable, *, patience_s: float) -> Processor:
    """On an engine whose server is not there."""
    engine = TritonEngine(repository=REPOSITORY_ROOT / "triton_models", addresses=[f"127.0.0.1:{free_port()}"])
    opened = open_database(database)
    return Processor(
        index=Index(opened),
        jobs=JobTable(opened),
        durable=durable,
        analyst=Analyst(
            rules=load_rules(REPOSITORY_ROOT / "config" / "pipelines.toml"), engine=engine, software_version="0"
        ),
        engine_patience_s=patience_s,
        results_folder=database.parent / "results",
        destinations={},
        stopping=threading.Event(),
    )


def test_waiting_is_no_start_and_is_told_once(database: Path, durable: Durable) -> None:
    waiting = processor(database, durable, patience_s=float("inf"))
    for _ in range(12):
        waiting.process(JOB)
    job = waiting.jobs.job(JOB)
    assert (job.state, job.starts) == (StudyState.QUEUED, 0)
    overview = Overview(open_database(database)).study(STUDY)
    assert overview is not None
    assert "no Triton server can be used" in overview["reason"]
    told = [line for line in overview["history"] if "waits for the models" in line["detail"]]
    assert len(told) == 1


def test_patience_has_an_end(database: Path, durable: Durable) -> None:
    impatient = processor(database, durable, patience_s=0.0)
    impatient.process(JOB)
    job = impatient.jobs.job(JOB)
    assert (job.state, job.starts) == (StudyState.QUEUED, 1), "from now on starts are counted, up to the last"


def test_patience_begins_with_the_wait_and_anew_with_an_operators_retry(database: Path, durable: Durable) -> None:
    """The study was complete years ago; its server is away since just now."""
    waiting = processor(database, durable, patience_s=3600.0)
    waiting.process(JOB)
    since = waiting.jobs.waits_since(JOB)
    assert waiting.jobs.job(JOB).starts == 0
    assert since is not None
    waiting.process(JOB)
    assert waiting.jobs.waits_since(JOB) == since
    queue_again = lambda connection: durable.enqueue_process(connection, JOB)  # noqa: E731
    waiting.jobs.requeue(JOB, now=utc_now(), why="an operator asked", enqueue=queue_again, fresh=True)
    assert waiting.jobs.waits_since(JOB) is None
    waiting.process(JOB)
    waiting.jobs.park(JOB, now=utc_now(), reason="enough")
    assert waiting.jobs.waits_since(JOB) is None


def test_what_waiting_leaves_behind_is_bounded(
    database: Path, durable: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        with open_database(database).begin() as connection:
            durable.enqueue_process(connection, JOB)
    deadline = time.monotonic() + 30
    ended = lambda: DBOS.list_workflows(status="SUCCESS")  # noqa: E731
    while len(ended()) < 6 and time.monotonic() < deadline:
        time.sleep(0.1)
    newest = [one.workflow_id for one in DBOS.list_workflows(status="SUCCESS", sort_desc=True, limit=2)]
    monkeypatch.setattr("dicom_node.flow.durable.MOST_ENDED", 2)
    durable.prune()
    assert {one.workflow_id for one in ended()} == set(newest)
