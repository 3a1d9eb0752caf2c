"""Kill -9 of a node while instances come by STOW-RS: what was answered is there, once and whole; nothing is half."""

import http.client
import os
import threading
import time
from io import BytesIO
from pathlib import Path

import pytest
from pynetdicom.dsutils import split_dataset
from xxhash import xxh3_128_hexdigest

from dicom_node.association.recovery import index_unlisted
from dicom_node.demonstration.node_process import NodeProcess
from dicom_node.demonstration.orthanc import free_port
from dicom_node.headers import read_file_meta, read_instance_facts
from dicom_node.index import Index, open_database
from dicom_node.spool import SegmentSpool
from dicom_node.spool.extraction import extract
from tests.spool_contents import stored_files, unfinished_bytes
from tests.synthetic_ct import SERIES_UID, ct_slice

KILLS = 5
SENDERS = 3
PAUSE_S = 0.4
"""Of a sender whose node is away."""
TOKEN = os.urandom(32).hex()
HEADERS = {
    "Authorization": f"Bearer {TOKEN}",
    "Content-Type": 'multipart/related; type="application/dicom"; boundary=B',
}

pytestmark = [pytest.mark.journey, pytest.mark.timeout(400)]


def file_of(uid: str) -> bytes:
    image = ct_slice(1, (0.0, 0.0, 1.0))
    image.SOPInstanceUID = uid
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    buffer = BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


class Sender(threading.Thread):
    """Stores one instance a request, and the same one again until it is answered."""

    def __init__(self, port: int, uid_root: str) -> None:
        super().__init__()
        self.answered: dict[str, bytes] = {}
        self.done = threading.Event()
        self._port = port
        self._uid_root = uid_root

    def run(self) -> None:
        while not self.done.is_set():
            uid = f"{self._uid_root}.{len(self.answered)}"
            file = file_of(uid)
            if self._stored(b"--B\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n--B--\r\n"):
                self.answered[uid] = file
            else:
                time.sleep(PAUSE_S)

    def _stored(self, body: bytes) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            connection.request("POST", "/dicom-web/studies", body=body, headers=HEADERS)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def test_what_was_answered_over_stow_survives_kill_9(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "node.toml").write_text("[completeness]\nsettle_s = 3600\n[web.stow]\ntoken_file = 'token'\n")
    port = free_port()
    node = NodeProcess(tmp_path / "node", ["--config", str(tmp_path / "node.toml"), "--web-port", str(port)])
    node.start()
    senders = [Sender(port, f"{SERIES_UID}.{number}") for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    for kill in range(KILLS):
        time.sleep(0.7 + 0.3 * kill)
        node.kill()
        node.start()
    for sender in senders:
        sender.done.set()
        sender.join()
    node.stop()
    index = Index(open_database(tmp_path / "node" / "node.sqlite"))
    answered = {uid: file for sender in senders for uid, file in sender.answered.items()}
    assert len(answered) > KILLS * SENDERS
    for uid, file in answered.items():
        held = index.find_instance(uid)
        assert held is not None, uid
        extract(held.file, tmp_path / "extracted.dcm")
        _, held_start = split_dataset(tmp_path / "extracted.dcm")
        content = (tmp_path / "extracted.dcm").read_bytes()[held_start:]
        assert content == file[read_file_meta(file).start :]
        assert held.digest == xxh3_128_hexdigest(content)
    spool = tmp_path / "node" / "spool"
    index_unlisted(SegmentSpool(spool), index, alone=True)
    assert unfinished_bytes(spool) == 0
    files = stored_files(SegmentSpool(spool))
    assert len(files) == len(set(files)) == len({read_instance_facts(file).sop_instance_uid for file in files})
    for file in files:
        row = index.find_instance(read_instance_facts(file, whole=True).sop_instance_uid)
        assert row is not None
        assert row.file == file
