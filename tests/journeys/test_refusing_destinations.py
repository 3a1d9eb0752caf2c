"""Destinations that do not take every SOP class: real peers refuse, and no study ends in silence."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydicom
import pytest

from dicom_node.demonstration.node_process import NodeProcess
from dicom_node.demonstration.phantom_study import PhantomStudy, write_phantom_study
from tests.refusing_peer import AE_TITLE, refusing_peer

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
SR, SC = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.7"
SETTLED_S = 90.0
SLOW_S = 4
"""Seconds that the slow peer lets pass between an object and its answer: time to see the debt, and to kill the node."""


@pytest.fixture
def study(tmp_path: Path) -> PhantomStudy:
    return write_phantom_study(
        tmp_path / "study", kind="ct", slices=48, size_px=128, seed=3, truth_folder=tmp_path / "truth"
    )


def send(study: PhantomStudy, node: NodeProcess) -> None:
    command = ["storescu", "-xe", "-aec", "DICOMNODE", "+sd", "127.0.0.1", str(node.dicom_port), str(study.folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def held(folder: Path) -> list[str]:
    """SOP classes of what a peer has."""
    return sorted(str(pydicom.dcmread(path, stop_before_pixels=True).SOPClassUID) for path in folder.iterdir())


def deliveries(overview: dict[str, Any], destination: str) -> dict[str, tuple[str, str | None]]:
    return {
        one["kind"]: (one["state"], one["in_its_place"])
        for one in overview["deliveries"]
        if one["destination"] == destination
    }


def events(log: Path, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line["event"] == name]


def printed(node: NodeProcess, *command: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "dicom_node", *command, "--data-dir", str(node.data_dir)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


def destination(name: str, port: int) -> list[str]:
    return ["--destination", f"{name}={AE_TITLE}@127.0.0.1:{port}"]


def test_every_destination_gets_what_it_takes_in_place_of_the_rest(tmp_path: Path, study: PhantomStudy) -> None:
    with (
        refusing_peer(tmp_path / "images", "CTImageStorage", "SecondaryCaptureImageStorage") as images,
        refusing_peer(tmp_path / "documents", "ComprehensiveSRStorage") as documents,
    ):
        flags = ["--settle", "1", *destination("images", images), *destination("documents", documents)]
        with NodeProcess(tmp_path / "node", flags) as node:
            send(study, node)
            overview = node.wait_until_settled(study.study_uid, timeout_s=SETTLED_S)
            told, listed = printed(node, "study", study.study_uid), printed(node, "studies")
    assert overview["state"] == "done", overview["reason"]
    assert held(tmp_path / "images") == [SC]
    assert held(tmp_path / "documents") == [SR]
    assert deliveries(overview, "images") == {
        "key_objects": ("replaced", "summary"), "report": ("replaced", "summary"),
        "segmentation": ("replaced", "summary"), "summary": ("delivered", None),
    }  # fmt: skip
    assert deliveries(overview, "documents") == {
        "key_objects": ("replaced", "report"), "report": ("delivered", None),
        "segmentation": ("replaced", "report"), "summary": ("replaced", "report"),
    }  # fmt: skip
    assert "images  segmentation  replaced by summary, 1 tries: the destination does not take Segmentation" in told
    assert "images: summary in place of key_objects and report and segmentation" in listed
    said = {(one["destination"], one["refused"], one["instead"]) for one in events(node.log, "delivery_fallback")}
    assert said >= {
        ("images", "segmentation", "summary"), ("images", "key_objects", "summary"), ("images", "report", "summary"),
        ("documents", "segmentation", "report"), ("documents", "summary", "report"),
    }  # fmt: skip
    patient = pydicom.dcmread(study.images[0], stop_before_pixels=True)
    assert str(patient.PatientName) not in node.log.read_text()
    assert patient.PatientID not in node.log.read_text()


def test_destination_that_takes_nothing_of_ours_fails_the_study_aloud(tmp_path: Path, study: PhantomStudy) -> None:
    with (
        refusing_peer(tmp_path / "modality", "CTImageStorage") as nothing,
        refusing_peer(tmp_path / "images", "SecondaryCaptureImageStorage") as images,
    ):
        flags = ["--settle", "1", *destination("nothing", nothing), *destination("images", images)]
        with NodeProcess(tmp_path / "node", flags) as node:
            send(study, node)
            overview = node.wait_until_settled(study.study_uid, timeout_s=SETTLED_S)
            listed = printed(node, "studies")
    assert overview["state"] == "failed"
    assert held(tmp_path / "modality") == []
    assert held(tmp_path / "images") == [SC], "one that takes nothing is no harm to another"
    assert {state for state, _ in deliveries(overview, "nothing").values()} == {"unsupported"}
    assert "nothing: the destination does not take Comprehensive SR Storage" in listed
    said = {(one["refused"], one["instead"]) for one in events(node.log, "delivery_fallback")
            if one["destination"] == "nothing"}  # fmt: skip
    assert {("report", None), ("summary", None)} <= said


def test_node_killed_between_refusal_and_stand_in_loses_and_doubles_nothing(
    tmp_path: Path, study: PhantomStudy
) -> None:
    with refusing_peer(
        tmp_path / "images", "SecondaryCaptureImageStorage", options=("--sleep-after", str(SLOW_S))
    ) as port:
        config = tmp_path / "node.toml"
        config.write_text(
            "[completeness]\nsettle_s = 1\n[[destinations]]\n"
            f'name = "pacs"\nae_title = "{AE_TITLE}"\nhost = "127.0.0.1"\nport = {port}\nresults = ["segmentation"]\n'
        )
        node = NodeProcess(tmp_path / "node", ["--config", str(config)])
        node.start()
        send(study, node)
        path = f"/api/studies/{study.study_uid}"
        refused = node.wait_for(path, lambda one: "replaced" in str(one["deliveries"]), timeout_s=SETTLED_S)
        node.kill()
        assert deliveries(refused, "pacs") == {"segmentation": ("replaced", "summary"), "summary": ("waiting", None)}
        assert refused["state"] == "delivering"
        with node:
            overview = node.wait_until_settled(study.study_uid, timeout_s=SETTLED_S)
            assert node.stop() == 0
    assert overview["state"] == "done", overview["reason"]
    assert deliveries(overview, "pacs") == {"segmentation": ("replaced", "summary"), "summary": ("delivered", None)}
    assert held(tmp_path / "images") == [SC]
    assert sum(one["accepted"] for one in events(node.log, "delivery_attempted")) == 1
    assert [(one["refused"], one["instead"]) for one in events(node.log, "delivery_fallback")] == [
        ("segmentation", "summary")
    ], "what is known to be refused is not offered again"
