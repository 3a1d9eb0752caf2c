"""A real node whose parts are broken: it says which, and answers 503."""

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from dicom_node.app import DATABASE, Node
from dicom_node.settings import REPOSITORY_ROOT, load_settings

PATIENCE_S = 60.0
RULES = REPOSITORY_ROOT / "config" / "pipelines.toml"


def started(folder: Path, *, repository: Path, rules: Path = RULES) -> Node:
    settings = load_settings(
        None,
        {
            "data_dir": str(folder / "data"),
            "routing_rules": str(rules),
            "engine": {"repository": str(repository), "threads": 1},
            "scp": {"port": 0, "bind": "127.0.0.1"},
            "web": {"port": 0},
        },
    )
    node = Node(settings)
    node.start()
    return node


def wait_for(said: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not said() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert said()


@pytest.fixture
def without_detector(tmp_path: Path) -> Path:
    """A model repository that lacks one of the embolism models."""
    repository = tmp_path / "models"
    for name in ("lungs_unet", "infection_unet", "pe_classifier"):
        shutil.copytree(REPOSITORY_ROOT / "triton_models" / name, repository / name)
    return repository


def test_an_index_that_cannot_be_read_is_told(tmp_path: Path, without_detector: Path) -> None:
    node = started(tmp_path, repository=without_detector)
    try:
        address = f"http://127.0.0.1:{node.web_port}/health/ready"
        wait_for(lambda: httpx.get(address).status_code == 200)
        with sqlite3.connect(tmp_path / "data" / DATABASE) as database:
            database.execute("ALTER TABLE studies RENAME TO lost")
        answer = httpx.get(address)
        assert answer.status_code == 503
        assert "the index cannot be read" in answer.json()["parts"]["index"]
        metrics = httpx.get(address.replace("/health/ready", "/metrics")).text
        assert 'dicom_node_ready{part="index"} 0.0' in metrics
        assert 'dicom_node_inference_slices_total{engine="embedded",model="lungs_unet"} 1.0' in metrics, "its warm-up"
    finally:
        node.stop()
        database.close()


def test_models_of_every_pipeline_that_runs_by_itself_are_tried(tmp_path: Path, without_detector: Path) -> None:
    rules = tmp_path / "pipelines.toml"
    rules.write_text(RULES.read_text().replace("on_request = true", "on_request = false"))
    with capture_logs() as lines:
        node = started(tmp_path, repository=without_detector, rules=rules)
        try:
            wait_for(lambda: any(one["event"] == "model_not_usable" for one in list(lines)))
        finally:
            node.stop()
    (told,) = (one for one in lines if one["event"] == "model_not_usable")
    assert told["model"] == "pe_detector"
