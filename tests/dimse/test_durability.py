"""Nothing is acknowledged that is not on the disk: the order of system calls, and kill -9 under four senders.

``KILLS=50 OBJECTS=2000`` in the environment is the long version of the last test.
"""

import hashlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest

from benchmarks.raw_sender import COMMAND, LAST, RawAssociation, c_store_rq, p_data
from dicom_node.association.recovery import index_unlisted
from dicom_node.demonstration.orthanc import free_port
from dicom_node.headers import read_instance_facts
from dicom_node.index import Index, open_database
from dicom_node.settings import ScpSettings
from dicom_node.spool import FileSpool
from tests.dimse.conftest import encoded_slice

OUR_AE = ScpSettings().ae_title
SENDERS = 4
KILLS = int(os.environ.get("KILLS", "4"))
OBJECTS = int(os.environ.get("OBJECTS", "240"))
FIRST_ACCEPTANCE_S = 5.0
REPOSITORY = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "tests.dimse.receiver_process"]


class Node:
    """A receiving process on one port, started again after every kill."""

    def __init__(self, folder: Path, *before: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._command = [*before, *PROGRAM, str(folder), str(self.port)]
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{self.port}\n"

    def end(self, *, kill: bool) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if kill:
            self.process.kill()
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()


@contextmanager
def running(node: Node) -> Iterator[Node]:
    node.start()
    try:
        yield node
    finally:
        node.end(kill=False)


def uid_of(number: int) -> str:
    return f"1.2.3.{number}"


def content_of(number: int) -> bytes:
    return encoded_slice(1, SOPInstanceUID=uid_of(number))


def store(peer: RawAssociation, number: int) -> bool:
    request = p_data(1, COMMAND | LAST, c_store_rq(uid_of(number))) + p_data(1, LAST, content_of(number))
    try:
        peer.socket.sendall(request)
    except OSError:
        return False
    return peer.read_status() == 0


CALL = re.compile(r"^\d+\s+(?P<name>\w+)\((?P<descriptor>\d+<(?P<what>[^>]*)>)?(?P<rest>.*)")


def test_each_response_follows_the_synchronisation_of_its_file(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    assert strace is not None, "sh deploy/install-test-packages.sh installs it"
    trace = tmp_path / "trace"
    calls = "trace=writev,write,link,linkat,unlink,fsync,fdatasync,sendto"
    node = Node(tmp_path / "node", strace, "-f", "-y", "-s", "8", "-o", str(trace), "-e", calls)
    with running(node), RawAssociation(node.port, timeout_s=20) as peer:
        assert peer.associate(called_ae=OUR_AE) == 2
        for number in range(10):
            assert store(peer, number)
        assert peer.release() == 6
    # What happened to files of the spool and to the connection, in order.
    happened = []
    for line in trace.read_text().splitlines():
        call = CALL.match(line)
        if call is None:
            continue
        text = f"{call['what']} {call['rest']}"
        if "/spool/" in text and ".dcm" in text:
            happened.append(call["name"])
        elif call["name"] == "sendto" and '"\\4\\0' in text:  # the head of a P-DATA-TF
            happened.append("response")
    whole = ["writev", "link", "fsync", "unlink", "response"]
    assert happened == whole * 10


def test_nothing_acknowledged_is_lost_doubled_or_half_written(tmp_path: Path) -> None:
    node = Node(tmp_path / "node")
    acknowledged: list[set[int]] = [set() for _ in range(SENDERS)]
    starts: list[float] = []
    finished = threading.Event()

    def send(share: int) -> None:
        """As a modality does: what was not acknowledged is sent again, until it is."""
        mine = [number for number in range(OBJECTS) if number % SENDERS == share]
        while len(acknowledged[share]) < len(mine) and not finished.is_set():
            try:
                with RawAssociation(node.port, timeout_s=10) as peer:
                    if peer.associate(called_ae=OUR_AE) != 2:
                        continue
                    for number in mine:
                        if number not in acknowledged[share]:
                            if not store(peer, number):
                                break
                            acknowledged[share].add(number)
                            time.sleep(0.002 * KILLS * 240 / OBJECTS)  # as many objects between kills as it takes
            except OSError:
                time.sleep(0.02)

    def start() -> None:
        started = time.monotonic()
        node.start()
        with RawAssociation(node.port, timeout_s=10) as peer:
            assert peer.associate(called_ae=OUR_AE) == 2
        starts.append(time.monotonic() - started)

    start()
    senders = [threading.Thread(target=send, args=(share,)) for share in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        for kill in range(KILLS):
            time.sleep(0.1 + 0.07 * (kill % 4))
            node.end(kill=True)
            start()
        for sender in senders:
            sender.join(timeout=120)
    finally:
        finished.set()
        node.end(kill=True)
    assert set().union(*acknowledged) == set(range(OBJECTS))
    assert statistics.median(starts) < FIRST_ACCEPTANCE_S
    spool, index = FileSpool(tmp_path / "node" / "spool"), Index(open_database(tmp_path / "node" / "node.sqlite"))
    spool.sweep()
    index_unlisted(spool, index)
    files = list(spool.paths())
    assert len(files) == OBJECTS, "each once"
    assert not list((tmp_path / "node").rglob("*.damaged"))
    assert index.known_paths() == frozenset(files)
    for number in range(OBJECTS):
        row = index.find_instance(uid_of(number))
        assert row is not None
        assert row.sha256 == hashlib.sha256(content_of(number)).hexdigest()
        assert row.facts == read_instance_facts(row.path, whole=True)
        assert spool.describe(row.path).sha256 == row.sha256


def test_what_a_power_cut_left_incomplete_can_come_again(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    node = Node(folder)
    with running(node), RawAssociation(node.port) as peer:
        assert peer.associate(called_ae=OUR_AE) == 2
        assert store(peer, 1)
    (path,) = FileSpool(folder / "spool").paths()
    whole = path.read_bytes()
    (folder / "node.sqlite").unlink()
    path.write_bytes(whole[:-20])
    with running(node), RawAssociation(node.port) as peer:
        assert peer.associate(called_ae=OUR_AE) == 2
        assert store(peer, 1)
    assert path.read_bytes() == whole
    assert [left.read_bytes() for left in (folder / "spool").rglob("*.damaged")] == [whole[:-20]]
    assert pydicom.dcmread(path).SOPInstanceUID == uid_of(1)


@pytest.mark.parametrize("index_lost", [False, True])
def test_a_repeat_after_a_restart_is_a_repeat(tmp_path: Path, index_lost: bool) -> None:
    node = Node(tmp_path / "node")
    for start in range(2):
        if start and index_lost:
            (tmp_path / "node" / "node.sqlite").unlink()
        with running(node), RawAssociation(node.port) as peer:
            assert peer.associate(called_ae=OUR_AE) == 2
            assert store(peer, 1)
            other = encoded_slice(1, SOPInstanceUID=uid_of(1), SeriesDescription="changed")
            peer.socket.sendall(p_data(1, COMMAND | LAST, c_store_rq(uid_of(1))) + p_data(1, LAST, other))
            assert peer.read_status() == 0xC001
    assert len(list(FileSpool(tmp_path / "node" / "spool").paths())) == 1
