"""Nothing is acknowledged that is not on the disk: the order of system calls, and kill -9 under four senders.

``python -m benchmarks --only kills`` is the long version: 50 kills, 2,000 objects.
"""

import re
import shutil
import statistics
from pathlib import Path

import pydicom
import pytest

from benchmarks.kills import FIRST_ACCEPTANCE_S, kill_repeatedly
from benchmarks.raw_sender import COMMAND, LAST, RawAssociation, c_store_rq, p_data
from benchmarks.receiving.our_process import OurProcess
from dicom_node.settings import ScpSettings
from dicom_node.spool import FileSpool
from tests.dimse.conftest import encoded_slice

OUR_AE = ScpSettings().ae_title
KILLS, OBJECTS = 4, 240


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
    node = OurProcess(tmp_path / "node", strace, "-f", "-y", "-s", "8", "-o", str(trace), "-e", calls)
    with node, RawAssociation(node.port, timeout_s=20) as peer:
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
    outcome = kill_repeatedly(tmp_path / "node", kills=KILLS, objects=OBJECTS)
    assert outcome.acknowledged == OBJECTS
    assert (outcome.lost, outcome.doubled, outcome.half_written) == (0, 0, 0)
    assert len(outcome.first_acceptance_s) == KILLS + 1
    assert statistics.median(outcome.first_acceptance_s) < FIRST_ACCEPTANCE_S


def test_what_a_power_cut_left_incomplete_can_come_again(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    node = OurProcess(folder)
    with node, RawAssociation(node.port) as peer:
        assert peer.associate(called_ae=OUR_AE) == 2
        assert store(peer, 1)
    (path,) = FileSpool(folder / "spool").paths()
    whole = path.read_bytes()
    (folder / "node.sqlite").unlink()
    path.write_bytes(whole[:-20])
    with node, RawAssociation(node.port) as peer:
        assert peer.associate(called_ae=OUR_AE) == 2
        assert store(peer, 1)
    assert path.read_bytes() == whole
    assert [left.read_bytes() for left in (folder / "spool").rglob("*.damaged")] == [whole[:-20]]
    assert pydicom.dcmread(path).SOPInstanceUID == uid_of(1)


@pytest.mark.parametrize("index_lost", [False, True])
def test_a_repeat_after_a_restart_is_a_repeat(tmp_path: Path, index_lost: bool) -> None:
    node = OurProcess(tmp_path / "node")
    for start in range(2):
        if start and index_lost:
            (tmp_path / "node" / "node.sqlite").unlink()
        with node, RawAssociation(node.port) as peer:
            assert peer.associate(called_ae=OUR_AE) == 2
            assert store(peer, 1)
            other = encoded_slice(1, SOPInstanceUID=uid_of(1), SeriesDescription="changed")
            peer.socket.sendall(p_data(1, COMMAND | LAST, c_store_rq(uid_of(1))) + p_data(1, LAST, other))
            assert peer.read_status() == 0xC001
    assert len(list(FileSpool(tmp_path / "node" / "spool").paths())) == 1
