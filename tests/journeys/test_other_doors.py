"""The doors beside C-STORE, on a real node with a real Orthanc: STOW-RS, a folder, storage commitment over a crash."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest

from dicom_node.demonstration.node_process import NodeProcess
from dicom_node.demonstration.orthanc import DICOMWEB_PLUGIN, OrthancServer, free_port
from dicom_node.spool import SegmentSpool
from tests.spool_contents import stored_files
from tests.synthetic_ct import STUDY_UID, axial_series, write
from tests.unit.audit.audit_schema import valid_message
from tests.unit.web.stow_port import BOUNDARY, CONTENT_TYPE, PART, images

SLICES = 5
"""Too few for any pipeline: the study ends as not analysed, at once."""
SETTLE_S = 2.0
PATIENCE_S = 120.0
TOKEN = os.urandom(32).hex()

pytestmark = [pytest.mark.journey, pytest.mark.timeout(400)]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A node and an Orthanc that know each other; the node is not started yet."""

    node: NodeProcess
    orthanc: OrthancServer
    files: Path

    def post(self, path: str, body: Any) -> Any:
        """JSON to Orthanc's REST API."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.orthanc.http_url + path, data=data)) as answer:
            return json.loads(answer.read())

    def ask_for_commitment(self) -> str:
        """Where Orthanc tells how its request for all its instances is."""
        resources = self.orthanc.get("/instances")
        asked: str = self.post("/modalities/node/storage-commitment", {"Resources": resources})["Path"]
        return asked

    def heard(self, asked: str) -> Any:
        """Orthanc's view of a request, once the report has come."""
        return wait_for(lambda: self.orthanc.get(asked), lambda said: said["Status"] != "Pending")

    def event(self, name: str) -> list[Any]:
        """Lines of the node's log."""
        lines = self.node.log.read_text().splitlines() if self.node.log.exists() else []
        return [
            line for line in map(json.loads, filter(lambda one: one.startswith("{"), lines)) if line["event"] == name
        ]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    node_port, web_port, orthanc_port = free_port(), free_port(), free_port()
    write(tmp_path / "files", axial_series(SLICES))
    (tmp_path / "token").write_text(TOKEN)
    settings = tmp_path / "node.toml"
    settings.write_text(
        f"[completeness]\nsettle_s = {SETTLE_S}\n[web.stow]\ntoken_file = 'token'\n"
        "[[destinations]]\nname = 'pacs'\nae_title = 'ORTHANC'\nhost = '127.0.0.1'\n"
        f"port = {orthanc_port}\n[[scp.peers]]\nae_title = 'ORTHANC'\naddress = '127.0.0.1'\n"
        f"[scp.peers.commitment]\nhost = '127.0.0.1'\nport = {orthanc_port}\n"
    )
    orthanc_settings = {
        "Plugins": [DICOMWEB_PLUGIN],
        "DicomModalities": {
            "node": {"AET": "DICOMNODE", "Host": "127.0.0.1", "Port": node_port, "AllowStorageCommitment": True}
        },
        "DicomWeb": {
            "Servers": {
                "node": {
                    "Url": f"http://127.0.0.1:{web_port}/dicom-web/",
                    "HttpHeaders": {"Authorization": f"Bearer {TOKEN}"},
                }
            }
        },
    }
    arguments = ["--config", str(settings), "--web-port", str(web_port)]
    with OrthancServer(tmp_path / "orthanc", dicom_port=orthanc_port, settings=orthanc_settings) as orthanc:
        node = NodeProcess(tmp_path / "node", arguments, port=node_port)
        yield Place(node=node, orthanc=orthanc, files=tmp_path / "files")
        node.stop()


def wait_for(ask: Callable[[], Any], satisfied: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not satisfied(answer := ask()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)
    return answer


def fill(place: Place) -> None:
    for path in sorted(place.files.iterdir()):
        place.post("/instances", path.read_bytes())


def expect_the_study_done(place: Place) -> None:
    study = place.node.wait_until_settled(STUDY_UID, timeout_s=PATIENCE_S)
    assert (study["state"], study["generation"]) == ("done", 1), study["reason"]
    assert [one["instances"] for one in study["series"]] == [SLICES]
    assert sorted(place.orthanc.modalities_of(STUDY_UID)).count("SR") == 1


def test_orthanc_stores_by_stow_and_the_study_is_answered(place: Place) -> None:
    with place.node:
        fill(place)
        job = place.post("/dicom-web/servers/node/stow", {"Resources": place.orthanc.get("/instances")})
        assert job, "Orthanc raises where the node refuses"
        expect_the_study_done(place)
        (request,) = place.event("stow_request")
    assert (request["status"], request["accepted"], request["refused"]) == (200, SLICES, 0)
    log = place.node.log.read_text()
    assert TOKEN not in log
    header = pydicom.dcmread(next(place.files.iterdir()), stop_before_pixels=True)
    assert str(header.get("PatientName", "no name in it")) not in log


def test_a_stop_in_the_middle_of_an_upload_tells_log_and_trail_of_every_instance(place: Place) -> None:
    pause_s, files = 0.006, images(900)
    sent = threading.Event()

    def slowly() -> Iterator[bytes]:
        for number, file in enumerate(files):
            yield b"--" + BOUNDARY.encode() + b"\r\n" + PART + file + b"\r\n"
            time.sleep(pause_s)
            if number == 200:
                sent.set()
        yield b"--" + BOUNDARY.encode() + b"\r\n" + PART
        while True:  # the upload ends when the node ends it
            yield bytes(100)
            time.sleep(pause_s)

    def upload() -> None:
        headers = {"Content-Type": CONTENT_TYPE, "Authorization": f"Bearer {TOKEN}"}
        with suppress(httpx.HTTPError):  # the answer may be lost with the connection
            httpx.post(
                f"http://127.0.0.1:{place.node.web_port}/dicom-web/studies",
                content=slowly(),
                headers=headers,
                timeout=60,
            )

    sending = threading.Thread(target=upload)
    with place.node:
        sending.start()
        assert sent.wait(PATIENCE_S)
        assert place.node.stop() == 0
    sending.join()
    (request,) = place.event("stow_request")
    stored = len(stored_files(SegmentSpool(place.node.data_dir / "spool")))
    told = sum(
        int(one.get("NumberOfInstances"))
        for line in (place.node.data_dir / "audit" / "audit.log").read_bytes().splitlines()
        for one in valid_message(line).iter("SOPClass")
    )
    assert (request["reason"], request["accepted"]) == ("the node is stopping", stored)
    assert told == stored >= 200


def test_a_folder_received_beside_a_running_node_is_analysed(place: Place) -> None:
    with place.node:
        done = subprocess.run(
            [sys.executable, "-m", "dicom_node", "receive", str(place.files), "--data-dir", str(place.node.data_dir)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout == f"{SLICES} of {SLICES} files taken\n"
        expect_the_study_done(place)
    trail = (place.node.data_dir / "audit" / "audit.log").read_text().splitlines()
    events = [valid_message(line.encode()).find("EventIdentification/EventID").get("csd-code") for line in trail]
    assert events == ["110100", "110107", "110102", "110104", "110100"], "started, imported, sent, stopped"


def test_orthanc_hears_truthfully_which_instances_are_safe(place: Place) -> None:
    fill(place)
    with place.node:
        before = place.heard(place.ask_for_commitment())
        assert before["Status"] == "Failure"
        assert {one["FailureReason"] for one in before["Failures"]} == {0x0112}
        place.post("/modalities/node/store", place.orthanc.get("/instances"))
        after = place.heard(place.ask_for_commitment())
    assert after["Status"] == "Success"
    assert len(after["Success"]) == SLICES


def test_a_node_killed_between_its_answer_and_its_report_still_reports(place: Place) -> None:
    fill(place)
    place.node.start()
    place.post("/modalities/node/store", place.orthanc.get("/instances"))
    asked = place.ask_for_commitment()  # returns when the node has answered N-ACTION
    place.node.kill()
    reported = len(place.event("commitment_reported"))
    time.sleep(1.0)
    if not reported:
        assert place.orthanc.get(asked)["Status"] == "Pending"
    place.node.start()
    heard = place.heard(asked)
    assert (heard["Status"], len(heard["Success"])) == ("Success", SLICES)
    assert place.node.stop() == 0, "also while models are still being compiled"


def test_orthanc_that_is_away_hears_its_report_when_it_is_back(place: Place) -> None:
    fill(place)
    with place.node:
        place.post("/modalities/node/store", place.orthanc.get("/instances"))
        place.orthanc.kill()
        # Asked by another program under Orthanc's AE title: the report goes to the configured address all the same.
        asked = ask_with_pynetdicom(place)
        wait_for(lambda: place.event("commitment_report_deferred"), bool)
        place.orthanc.start()
        reported = wait_for(
            lambda: [*place.event("commitment_reported"), *place.event("commitment_not_reported")], bool
        )
    assert reported[0]["transaction_uid"] == asked


def ask_with_pynetdicom(place: Place) -> str:
    """N-ACTION for the files of the place; returns the Transaction UID."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items
    from pynetdicom import AE

    push_model, transaction_uid = "1.2.840.10008.1.20.1", "1.2.826.0.1.3680043.10.77"
    information = Dataset()
    information.TransactionUID = transaction_uid
    items = []
    for path in place.files.iterdir():
        header = pydicom.dcmread(path, stop_before_pixels=True)
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
        items.append(item)
    information.ReferencedSOPSequence = Items(items)
    ae = AE(ae_title="ORTHANC")
    ae.add_requested_context(push_model)
    association = ae.associate("127.0.0.1", place.node.dicom_port, ae_title="DICOMNODE")
    status, _ = association.send_n_action(information, 1, push_model, "1.2.840.10008.1.20.1.1")
    association.release()
    assert status.Status == 0x0000
    return transaction_uid
