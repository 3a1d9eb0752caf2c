"""Where the time of requests goes, on a real server: what the engine says of it, and what Prometheus reads."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from dicom_node.demonstration.triton_server import TritonServer
from dicom_node.index import Overview, open_database
from dicom_node.settings import REPOSITORY_ROOT, WebSettings
from dicom_node.web.metrics import create_metrics
from dicom_node.web.server import WebServer
from inference.engines.base import EngineError
from inference.engines.times import InferenceTimes, Part
from inference.engines.triton import TritonEngine
from inference.engines.triton_config import USUAL_BATCH
from tests.seams.test_triton_faults import SPEC, slices, write_model

SECONDS = 0.05
"""That the model takes for a request."""
REQUESTS = 6
PROMETHEUS = REPOSITORY_ROOT / "deploy" / "prometheus"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("triton")
    (folder / "models").mkdir()
    write_model(folder / "models", seconds=SECONDS)
    with TritonServer(folder, folder / "models") as started:
        yield started


@pytest.fixture
def times(server: TritonServer) -> InferenceTimes:
    """Of one run of several requests, and of one that fails."""
    kept = InferenceTimes()
    repository = server.log.parent / "models"
    engine = TritonEngine(repository=repository, addresses=[server.address], times=kept)
    engine.run(SPEC, slices(REQUESTS * USUAL_BATCH - 3))
    with pytest.raises(EngineError, match="cancelled"):
        engine.run(SPEC, slices(1), cancelled=lambda: True)
    engine.close()
    return kept


@pytest.fixture
def page(times: InferenceTimes, tmp_path: Path) -> Iterator[str]:
    """Where the node's metrics are."""
    application = FastAPI()
    application.include_router(
        create_metrics(
            overview=Overview(open_database(tmp_path / "node.sqlite")),
            readiness={"index": lambda: "ok", "models": lambda: "a server is away"},
            times=times,
            version="0.1.0",
        )
    )
    web = WebServer(application, WebSettings(port=0))
    web.start()
    address = f"http://127.0.0.1:{web.port}/metrics"
    with httpx.Client(transport=httpx.HTTPTransport(retries=5)) as client:
        assert client.get(address).status_code == 200
    yield address
    web.stop()


def read(address: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Samples by name and labels. The reader calls every counter ``…_total``; Triton, and Prometheus, do not."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        (
            sample.name if f"{sample.name}{{" in text else sample.name.removesuffix("_total"),
            frozenset(sample.labels.items()),
        ): sample.value
        for sample in samples
    }


def test_a_run_is_divided_into_queue_compute_and_transport(times: InferenceTimes) -> None:
    (found,) = times.read()
    assert (found.model, found.engine, found.requests, found.slices) == (
        SPEC.name, "triton", REQUESTS, REQUESTS * USUAL_BATCH - 3,
    )  # fmt: skip
    assert found.failures == 1
    compute, queue, transport = (found.seconds[part] for part in (Part.COMPUTE, Part.QUEUE, Part.TRANSPORT))
    assert REQUESTS * SECONDS <= compute < 4 * REQUESTS * SECONDS, "a request in a batch counts the whole batch"
    assert queue > SECONDS, "three are under way at once, and the model takes one after the other"
    assert 0 < transport < compute + queue


def test_the_nodes_page(page: str) -> None:
    found = read(page)
    labels = {("model", SPEC.name), ("engine", "triton")}
    assert found["dicom_node_inference_requests_total", frozenset(labels)] == REQUESTS
    for part in Part:
        assert found["dicom_node_inference_seconds_total", frozenset({*labels, ("part", part.value)})] > 0
    assert found["dicom_node_ready", frozenset({("part", "models")})] == 0
    assert found["dicom_node_studies", frozenset({("state", "queued")})] == 0
    assert httpx.get(page).headers["content-type"].startswith("text/plain; version=")
    assert {key for _, given in found for key, _ in given} <= {"model", "engine", "part", "state", "version"}


def test_what_the_dashboard_shows_is_there_to_be_read(page: str, server: TritonServer) -> None:
    ours, tritons = read(page), read(f"http://{server.metrics_address}/metrics")
    counted = [value for (name, labels), value in tritons.items() if name == "nv_inference_request_success"
               and ("model", SPEC.name) in labels]  # fmt: skip
    assert sum(counted) >= REQUESTS
    names = {name for name, _ in (*ours, *tritons)}
    panels = json.loads((PROMETHEUS / "dashboard.json").read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    shown = {name for one in expressions for name in re.findall(r"(?:dicom_node|nv)_\w+", one)}
    assert shown
    assert shown <= names


def test_prometheus_is_told_of_both() -> None:
    told = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    targets = {one["job_name"]: one["static_configs"][0]["targets"] for one in told["scrape_configs"]}
    assert targets == {"dicom-node": [f"127.0.0.1:{WebSettings().port}"], "triton": ["127.0.0.1:8002"]}
