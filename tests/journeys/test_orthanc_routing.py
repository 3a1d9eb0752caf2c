"""A PACS that routes by itself: storescu stores into Orthanc, and nobody does anything more.

Real Orthanc with its Python plugin and the configuration of ``deploy/orthanc``, a real node, dcmtk's storescu.
"""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from dicom_node.demonstration.node_process import NodeProcess
from dicom_node.demonstration.orthanc import PYTHON_PLUGIN, OrthancServer, free_port
from dicom_node.demonstration.phantom_study import PhantomStudy, write_phantom_study

pytestmark = [pytest.mark.journey, pytest.mark.timeout(240)]

ROUTING = Path(__file__).parents[2] / "deploy" / "orthanc"
STABLE_AGE_S = 2
PATIENCE_S = 60.0
SLICES = 48
"""6.3 mm apart: the shipped routing rules take no thicker slices."""
LATE = 4
RESULTS = ["KO", "OT", "SEG", "SR"]
REPORTED = ["OT", "SR"]
"""What a study gets that is not analysed."""


def settings(node_port: int) -> dict[str, Any]:
    """The shipped configuration, with addresses and times of a test."""
    shipped: dict[str, Any] = json.loads(re.sub(r"//.*", "", (ROUTING / "orthanc.json").read_text()))
    (modality,) = shipped["DicomModalities"]
    return {
        **shipped,
        "Plugins": [PYTHON_PLUGIN],
        "PythonScript": str(ROUTING / "route_to_node.py"),
        "DicomModalities": {modality: ["DICOMNODE", "127.0.0.1", node_port]},
        "StableAge": STABLE_AGE_S,
        "DicomNode": {**shipped["DicomNode"], "PollSeconds": 0.5, "RetryFirstSeconds": 0.5, "RetryLongestSeconds": 2},
    }


@pytest.fixture
def node_port() -> int:
    return free_port()


@pytest.fixture
def orthanc(tmp_path: Path, node_port: int) -> Iterator[OrthancServer]:
    with OrthancServer(tmp_path / "orthanc", settings=settings(node_port)) as server:
        yield server


def node_for(orthanc: OrthancServer, folder: Path, port: int, *flags: str, settle_s: float = 1) -> NodeProcess:
    destination = f"pacs=ORTHANC@127.0.0.1:{orthanc.dicom_port}"
    return NodeProcess(folder / "node", ["--settle", str(settle_s), "--destination", destination, *flags], port=port)


def quick_node_for(orthanc: OrthancServer, folder: Path, port: int, *, settle_s: float = 1) -> NodeProcess:
    """A node without models: it reports every study as not analysed, which takes no computing."""
    (folder / "no-models").mkdir()
    config = folder / "node.toml"
    config.write_text("[engine]\nrepository = 'no-models'\n")
    return node_for(orthanc, folder, port, "--config", str(config), settle_s=settle_s)


def generated(folder: Path, *, seed: int) -> PhantomStudy:
    return write_phantom_study(
        folder / f"study{seed}", kind="ct", slices=SLICES, size_px=128, seed=seed, truth_folder=folder / f"truth{seed}"
    )


def store(study: PhantomStudy, orthanc: OrthancServer) -> None:
    subprocess.run(
        ["storescu", "-aec", "ORTHANC", "+sd", "127.0.0.1", str(orthanc.dicom_port), str(study.folder)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def wait_for(what: Callable[[], Any], satisfied: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not satisfied(found := what()):
        assert time.monotonic() < deadline, f"last: {found}"
        time.sleep(0.2)
    return found


def state(orthanc: OrthancServer, study: PhantomStudy) -> str:
    return orthanc.metadata_of(study.study_uid).get("DicomNodeState", "")


def wait_until_answered(orthanc: OrthancServer, study: PhantomStudy) -> str:
    answered: str = wait_for(lambda: state(orthanc, study), lambda shown: shown.startswith("answered: "))
    return answered


def results_of(orthanc: OrthancServer, study: PhantomStudy) -> list[str]:
    return sorted(modality for modality in orthanc.modalities_of(study.study_uid) if modality != "CT")


def instances_taken(node: NodeProcess) -> int:
    """How many instances Orthanc has sent to the node, repeats included."""
    lines = (json.loads(line) for line in node.log.read_text().splitlines() if line.startswith("{"))
    return sum(line["accepted"] for line in lines if line["event"] == "association_ended")


def stay_quiet() -> None:
    """Long enough for Orthanc to call a study stable and for the plugin to act on it, twice over."""
    time.sleep(2 * STABLE_AGE_S + 1)


def test_stored_studies_get_their_results_and_nothing_goes_round(
    tmp_path: Path, orthanc: OrthancServer, node_port: int
) -> None:
    studies = [generated(tmp_path, seed=seed) for seed in (21, 22)]
    with node_for(orthanc, tmp_path, node_port) as node:
        for study in studies:
            store(study, orthanc)
        shown = [wait_until_answered(orthanc, study) for study in studies]
        for study in studies:
            node.wait_until_settled(study.study_uid, timeout_s=PATIENCE_S)
        stay_quiet()
        overviews = [node.get(f"/api/studies/{study.study_uid}") for study in studies]
    assert [(overview["generation"], overview["state"]) for overview in overviews] == [(1, "done")] * 2
    assert shown == [f"answered: {overview['findings']['status']}" for overview in overviews]
    assert [results_of(orthanc, study) for study in studies] == [RESULTS] * 2
    assert instances_taken(node) == 2 * SLICES
    log = (tmp_path / "orthanc" / "orthanc.log").read_text()
    header = pydicom.dcmread(studies[0].images[0], stop_before_pixels=True)
    assert str(header.PatientName) not in log
    assert header.PatientID not in log


def test_late_node_gets_what_was_stored_and_late_images_are_answered_too(
    tmp_path: Path, orthanc: OrthancServer, node_port: int
) -> None:
    study = generated(tmp_path, seed=23)
    late = tmp_path / "late"
    late.mkdir()
    for path in study.images[-LATE:]:
        path.rename(late / path.name)
    store(study, orthanc)
    wait_for(lambda: state(orthanc, study), lambda shown: shown == "queued: the node does not answer")
    with quick_node_for(orthanc, tmp_path, node_port) as node:
        assert wait_until_answered(orthanc, study) == "answered: not analysed"
        first = node.wait_until_settled(study.study_uid, timeout_s=PATIENCE_S)
        store(replace(study, folder=late), orthanc)
        wait_for(lambda: state(orthanc, study), lambda shown: not shown.startswith("answered"))
        wait_until_answered(orthanc, study)
        second = node.wait_until_settled(study.study_uid, timeout_s=PATIENCE_S)
    assert [(overview["generation"], overview["state"]) for overview in (first, second)] == [(1, "done"), (2, "done")]
    assert results_of(orthanc, study) == sorted(2 * REPORTED)


def test_killed_orthanc_neither_loses_nor_repeats_a_study(
    tmp_path: Path, orthanc: OrthancServer, node_port: int
) -> None:
    study = generated(tmp_path, seed=24)
    with quick_node_for(orthanc, tmp_path, node_port) as node:
        store(study, orthanc)
        assert state(orthanc, study) == ""  # not stable yet: Orthanc itself has told nobody of this study
        orthanc.kill()
        orthanc.start()
        wait_until_answered(orthanc, study)
        node.wait_until_settled(study.study_uid, timeout_s=PATIENCE_S)
        orthanc.kill()
        orthanc.start()
        stay_quiet()
        overview = node.get(f"/api/studies/{study.study_uid}")
    assert (overview["generation"], overview["state"]) == (1, "done")
    assert results_of(orthanc, study) == REPORTED
    assert instances_taken(node) == SLICES


def test_orthanc_killed_while_it_sends_goes_on(tmp_path: Path, orthanc: OrthancServer, node_port: int) -> None:
    study = generated(tmp_path, seed=25)
    with quick_node_for(orthanc, tmp_path, node_port, settle_s=4 * STABLE_AGE_S) as node:
        store(study, orthanc)
        wait_for(lambda: state(orthanc, study), lambda shown: shown == "sending")
        orthanc.kill()
        orthanc.start()
        wait_until_answered(orthanc, study)
        overview = node.wait_until_settled(study.study_uid, timeout_s=PATIENCE_S)
    assert (overview["generation"], overview["state"]) == (1, "done")
    assert results_of(orthanc, study) == REPORTED
