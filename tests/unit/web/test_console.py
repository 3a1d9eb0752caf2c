"""The console's pages over a real index, from a real server: everything escaped, nothing loaded."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from dicom_node.index import Arrival, Index, JobTable, Overview, open_database
from dicom_node.records import InstanceFacts, Part10File, ResultKind, ResultObject, SeriesDecision, StoredInstance
from dicom_node.settings import WebSettings
from dicom_node.web.console import create_console
from dicom_node.web.server import WebServer
from inference.findings import ModelIdentity

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>"
MODEL = ModelIdentity(
    name="lungs_unet", version="2", digest="98ce3e" * 10, trained_on="12 public cases", licence="CC BY-NC-SA 4.0"
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[httpx.Client]:
    database = open_database(tmp_path / "node.sqlite")
    index, jobs = Index(database), JobTable(database)
    facts = InstanceFacts(
        sop_instance_uid="1.2.3.1", sop_class_uid="1.2.840.10008.5.1.4.1.1.2", study_uid="1.2", series_uid="1.2.3",
        transfer_syntax_uid="1.2.840.10008.1.2.1", modality="CT", image_type=("ORIGINAL",), series_number=1,
        series_description=HOSTILE, instance_number=1, body_part="", kernel="", contrast_agent="",
        slice_thickness_mm=None, gantry_tilt_deg=None, rows=None, columns=None, frames=(),
        frame_of_reference_uid="", burned_in_annotation="",
    )  # fmt: skip
    stored = StoredInstance(facts=facts, file=Part10File(Path("/spool/1"), 0, 1), digest="a", size_bytes=1)
    index.add_instances([Arrival(instance=stored, received_at=NOW, calling_ae="CT1")])
    (progress,) = index.receiving()
    job_id = index.close_generation(progress, now=NOW, reason="quiet", enqueue=lambda _c, _j: "workflow")
    assert job_id is not None
    report = ResultObject(
        kind=ResultKind.REPORT, sop_instance_uid="9.1", sop_class_uid="1.2", series_uid="9.9", path=Path("/r/9.1")
    )
    jobs.finish(
        job_id, now=NOW, findings='{"status": "not_analysed", "reason": "no lungs found"}',
        series_decisions=[SeriesDecision(series_uid="1.2.3", pipeline=None, reason="not axial")], objects=[report],
        stand_ins={}, destinations={"pacs": ((ResultKind.REPORT,), lambda _connection: "delivery")},
    )  # fmt: skip
    application = FastAPI()
    readiness = {"index": lambda: "ok", "models": lambda: "models are still loading"}
    application.include_router(
        create_console(overview=Overview(database), readiness=readiness, models=lambda: (MODEL,), version="0.1.0")
    )
    server = WebServer(application, WebSettings(port=0))
    server.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield client
    server.stop()


def test_the_first_page_names_health_models_and_studies(browser: httpx.Client) -> None:
    text = browser.get("/").text
    for said in (
        "Research use only. Not a medical device.", "models are still loading",
        "lungs_unet", "CC BY-NC-SA 4.0", "12 public cases", "98ce3e98ce3e", "not analysed", "/studies/1.2",
    ):  # fmt: skip
        assert said in text


def test_a_study_has_its_reasons_deliveries_and_history(browser: httpx.Client) -> None:
    text = browser.get("/studies/1.2").text
    for said in ("no lungs found", "not axial", "pacs", "report", "waiting", "9.1", "results_written"):
        assert said in text


@pytest.mark.parametrize("path", ["/studies/1.2", f"/studies/{HOSTILE.replace('/', '')}"])
def test_what_came_from_outside_is_escaped(browser: httpx.Client, path: str) -> None:
    text = browser.get(path).text
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_pages_may_load_nothing(browser: httpx.Client) -> None:
    for path, status in (("/", 200), ("/studies/1.2", 200), ("/studies/1.9", 404)):
        answer = browser.get(path)
        assert answer.status_code == status
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "http-equiv" in answer.text or status == 404
