"""Issue's kill journey: 20 studies from 4 associations while the node is killed -9 ten times.

Afterwards every study has its results in a real Orthanc, once. The senders do what modalities do: they repeat what
was not acknowledged.
"""

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.demonstration.node_process import NodeProcess
from dicom_node.demonstration.orthanc import OrthancServer
from dicom_node.demonstration.phantom_study import PhantomStudy, write_phantom_study

STUDIES = 20
SLICES = 48
"""6.3 mm apart: the shipped routing rules take no thicker slices."""
SENDERS = 4
KILLS = 10
SETTLE_S = 6.0
"""Longer than a sender's pause and a restart together: a killed transfer must not look like a complete study."""
PATIENCE_S = 400.0

pytestmark = [pytest.mark.journey, pytest.mark.timeout(800)]


@pytest.fixture
def studies(tmp_path: Path) -> list[PhantomStudy]:
    return [
        write_phantom_study(
            tmp_path / f"study{number}",
            kind="ct",
            slices=SLICES,
            size_px=128,
            seed=number,
            truth_folder=tmp_path / f"truth{number}",
        )
        for number in range(STUDIES)
    ]


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[OrthancServer]:
    with OrthancServer(tmp_path / "orthanc") as server:
        yield server


def send_until_acknowledged(study: PhantomStudy, port: int, deadline: float) -> None:
    """As a modality does: the whole study again until every instance of one attempt was answered with success."""
    command = ["storescu", "-xe", "-aec", "DICOMNODE", "+sd", "127.0.0.1", str(port), str(study.folder)]
    while time.monotonic() < deadline:
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(1.0)


def test_every_study_ends_once_at_the_pacs(tmp_path: Path, studies: list[PhantomStudy], orthanc: OrthancServer) -> None:
    destination = f"pacs=ORTHANC@127.0.0.1:{orthanc.dicom_port}"
    node = NodeProcess(tmp_path / "node", ["--settle", str(SETTLE_S), "--destination", destination])
    node.start()
    deadline = time.monotonic() + PATIENCE_S
    senders = [
        threading.Thread(
            target=lambda share: [send_until_acknowledged(study, node.dicom_port, deadline) for study in share],
            args=(studies[number::SENDERS],),
        )
        for number in range(SENDERS)
    ]
    for sender in senders:
        sender.start()
    for kill in range(KILLS):
        time.sleep(1.5 + kill % 4)  # in reception, in analysis, in delivery
        node.kill()
        node.start()
    for sender in senders:
        sender.join()
    with node:
        for study in studies:
            node.wait_until_settled(study.study_uid, timeout_s=max(deadline - time.monotonic(), 1.0))
        for study in studies:
            overview = node.get(f"/api/studies/{study.study_uid}")
            assert overview is not None
            assert overview["state"] == "done", overview["reason"]
            assert overview["generation"] == 1
            assert sum(series["instances"] for series in overview["series"]) == SLICES
            modalities = sorted(orthanc.modalities_of(study.study_uid))
            key_images = ["KO"] if overview["findings"]["status"] == "positive" else []
            assert modalities == [*key_images, "OT", "SEG", "SR"], (study.study_uid, modalities)
