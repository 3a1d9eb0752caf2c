"""A node whose models run on a real Triton server: the same findings, and no study lost when the server is killed."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner

from dicom_node.__main__ import main
from dicom_node.commands.engine_parity import compare_engines, engines_in
from dicom_node.commands.plan_parity import into_manifests
from dicom_node.delivery import Address, send_folder
from dicom_node.demonstration.archive import Archive
from dicom_node.demonstration.node_process import NodeProcess
from dicom_node.demonstration.orthanc import free_port
from dicom_node.demonstration.phantom_study import PhantomStudy, write_phantom_study
from dicom_node.demonstration.triton_server import TritonServer
from dicom_node.settings import EngineSettings
from inference.models import MODELS, InfectionUnet

STUDIES = 10
SLICES = 48
"""6.3 mm apart: the shipped routing rules take no thicker slices."""
PATIENCE_S = 600.0
"""Generous: a machine with other work takes ten times as long."""

pytestmark = [pytest.mark.journey, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """With the shipped models."""
    with TritonServer(tmp_path_factory.mktemp("triton")) as started:
        yield started


def study(folder: Path, seed: int) -> PhantomStudy:
    return write_phantom_study(
        folder / f"study{seed}", kind="ct", slices=SLICES, size_px=128, seed=seed, truth_folder=folder / f"truth{seed}"
    )


def findings(folder: Path, out: Path, *arguments: str) -> dict:
    outcome = CliRunner().invoke(main, ["infer", str(folder), "--out", str(out), *arguments])
    assert outcome.exit_code == 0, outcome.output
    document = json.loads((out / "findings.json").read_text())
    return {name: value for name, value in document.items() if name not in ("timings_s", "created_at")}


def masks(out: Path) -> bytes:
    return next(
        dataset.PixelData for dataset in map(pydicom.dcmread, sorted(out.glob("*.dcm"))) if dataset.Modality == "SEG"
    )


def test_findings_are_those_of_the_embedded_engine(tmp_path: Path, server: TritonServer) -> None:
    folder = study(tmp_path, seed=7).folder
    embedded = findings(folder, tmp_path / "embedded", "--engine", "embedded")
    assert embedded["status"] == "positive"
    assert findings(folder, tmp_path / "triton", "--engine", f"triton={server.address}") == embedded
    assert masks(tmp_path / "triton") == masks(tmp_path / "embedded")


def test_emboli_are_those_of_the_embedded_engine(tmp_path: Path, server: TritonServer) -> None:
    """Probabilities and boxes of a generated angiogram, whatever the models make of it."""
    folder = write_phantom_study(
        tmp_path / "study", kind="ctpa", slices=108, size_px=160, seed=7, truth_folder=tmp_path / "truth"
    ).folder
    asked = ("--pipeline", "pulmonary_embolism", "--engine")
    embedded = findings(folder, tmp_path / "embedded", *asked, "embedded")
    assert embedded["pipeline"] == "pulmonary_embolism"
    assert {one["name"] for one in embedded["models"]} >= {"pe_classifier", "pe_detector"}
    assert embedded["embolism"]["slices"]
    assert findings(folder, tmp_path / "triton", *asked, f"triton={server.address}") == embedded


def test_engines_pass_the_parity_gate(server: TritonServer) -> None:
    absent = f"triton=127.0.0.1:{free_port()}"
    engines = f"embedded,triton={server.address},{absent}"
    found = {(one.model, one.engine): one for one in compare_engines(engines, EngineSettings())}
    names = {model for model, _ in found}
    assert {model.spec.name for model in MODELS} <= names
    for engine in ("embedded", f"triton={server.address}"):
        assert "Dice 0.99" in found[InfectionUnet().spec.name, engine].said
        assert {name: found[name, engine].fault for name in names} == dict.fromkeys(names, False), found
    assert all(found[name, absent].fault and "no Triton server" in found[name, absent].said for name in names)
    assert {one.reference for one in found.values()} == {"torch float32"}
    here = [one for (_, engine), one in found.items() if engine == f"triton={server.address}"]
    written, left = into_manifests(here, EngineSettings())
    assert not written
    assert len(left) == len(names)
    assert all("serves no plan of it, but python" in line for line in left), "a CPU's answers say nothing of a plan"


@pytest.mark.parametrize(
    ("text", "engines"),
    [
        ("embedded", ["embedded"]),
        ("triton=a:1,b:2,embedded", ["triton=a:1,b:2", "embedded"]),
        ("embedded,triton=a:1,triton=[::1]:2", ["embedded", "triton=a:1", "triton=[::1]:2"]),
    ],
)
def test_how_engines_are_named(text: str, engines: list[str]) -> None:
    assert engines_in(text) == engines


def test_infer_says_that_no_server_answers(tmp_path: Path) -> None:
    folder = study(tmp_path, seed=7).folder
    address = f"127.0.0.1:{free_port()}"
    outcome = CliRunner().invoke(main, ["infer", str(folder), "--out", str(tmp_path), "--engine", f"triton={address}"])
    assert outcome.exit_code == 1
    assert f"no Triton server can be used: {address}" in outcome.output


def test_a_node_may_compute_by_itself_while_no_server_answers(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text(
        f"[engine]\nkind = 'triton'\n[engine.triton]\naddresses = ['127.0.0.1:{free_port()}']\nfallback = 'embedded'\n"
    )
    folder = study(tmp_path, seed=7).folder
    assert findings(folder, tmp_path / "out", "--config", str(config))["status"] == "positive"


def test_every_study_ends_once_when_the_server_is_killed_under_load(tmp_path: Path, server: TritonServer) -> None:
    studies = [study(tmp_path, seed) for seed in range(STUDIES)]
    with Archive(tmp_path / "archive", ae_title="ARCHIVE") as archive:
        destination = f"archive=ARCHIVE@127.0.0.1:{archive.port}"
        flags = ["--settle", "1", "--engine", f"triton={server.address}", "--destination", destination]
        with NodeProcess(tmp_path / "node", flags) as node:
            node.wait_for("/health/ready", lambda health: health["status"] == "ok", timeout_s=PATIENCE_S)
            senders = [
                threading.Thread(
                    target=send_folder, args=(one.folder, Address("DICOMNODE", "127.0.0.1", node.dicom_port))
                )
                for one in studies
            ]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            states = lambda: Counter(one["state"] for one in node.get("/api/studies"))  # noqa: E731
            while not states()["analysing"]:
                time.sleep(0.05)
            server.kill()
            node.wait_for(
                "/api/studies",
                lambda listed: any("no Triton server can be used" in one["reason"] for one in listed),
                timeout_s=30,
            )
            assert node.get("/health/ready") is None, "a node whose models are away is not ready"
            time.sleep(5)
            server.start()
            deadline = time.monotonic() + PATIENCE_S
            for one in studies:
                overview = node.wait_until_settled(one.study_uid, timeout_s=max(deadline - time.monotonic(), 1))
                assert overview["state"] == "done", overview["reason"]
                assert overview["findings"]["status"] != "not_analysed", overview["findings"]["reason"]
            assert node.get("/health/ready") is not None
        sent = Counter((one.facts.study_uid, one.facts.modality) for one in archive.received())
    expected = {(one.study_uid, modality): 1 for one in studies for modality in ("SEG", "SR", "OT", "KO")}
    assert sent == expected
