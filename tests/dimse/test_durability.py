"""Nothing is acknowledged that is not on the disk: the order of system calls, and kill -9 under four senders.

``python -m benchmarks --only kills`` is the long version: 50 kills, 2,000 objects.
"""

import re
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pytest
from xxhash import xxh3_128_digest

from benchmarks.kills import FIRST_ACCEPTANCE_S, kill_repeatedly
from benchmarks.raw_sender import COMMAND, LAST, RawAssociation, c_store_rq, p_data
from benchmarks.receiving.our_process import OurProcess
from dicom_node.association.recovery import index_unlisted
from dicom_node.association.transfer import BUFFER_BYTES
from dicom_node.index import Index, open_database
from dicom_node.settings import ScpSettings
from dicom_node.spool import SegmentSpool
from dicom_node.spool.part10 import PREAMBLE_BYTES, file_meta
from dicom_node.spool.record_head import IDENTITY_BYTES, RecordHead, encode_head
from dicom_node.spool.segment import ALIGNMENT
from dicom_node.spool.segments import SUFFIX
from tests.dimse.conftest import encoded_slice, kept
from tests.dimse.test_stalled_peers import wait_until
from tests.spool_contents import stored_files, unfinished_bytes

OUR_AE = ScpSettings().ae_title
CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
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


TEARS: dict[str, Callable[[BinaryIO, int, int], object]] = {
    "data never written": lambda segment, start, size: write_at(segment, start + 512, bytes(size - 512)),
    "end never written": lambda segment, start, size: segment.truncate(start + size - 20),
    "head never written": lambda segment, start, _size: write_at(segment, start, bytes(PREAMBLE_BYTES)),
    "nothing written": lambda segment, start, size: write_at(segment, start, bytes(size)),
}


def write_at(segment: BinaryIO, position: int, content: bytes) -> None:
    segment.seek(position)
    segment.write(content)


CALL = re.compile(r"^\d+\s+(?P<name>\w+)\((?P<descriptor>\d+<(?P<what>[^>]*)>)?(?P<rest>.*)")


def test_each_response_follows_the_synchronisation_of_its_segment(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    assert strace is not None, "sh deploy/install-test-packages.sh installs it"
    trace = tmp_path / "trace"
    calls = "trace=openat,write,writev,pwrite64,pwritev,pwritev2,link,rename,unlink,ftruncate,fsync,fdatasync,sendto"
    node = OurProcess(tmp_path / "node", strace, "-f", "-y", "-s", "8", "-o", str(trace), "-e", calls)
    with node, RawAssociation(node.port, timeout_s=20) as peer:
        assert peer.associate(called_ae=OUR_AE) == 2
        for number in range(10):
            assert store(peer, number)
        assert peer.release() == 6
    happened = in_order(trace.read_text())
    data_set, head = "pwritev", "pwritev"
    new, each = ["openat", "fsync of the folder"], [data_set, head, "fdatasync", "response"]
    first = happened.index("openat")
    assert happened[first:] == new + each * 10
    assert set(happened[:first]) <= {"fsync of the folder"}


def in_order(trace: str) -> list[str]:
    """What happened to segments, to the folder of the spool and to connections."""
    happened = []
    for line in trace.splitlines():
        call = CALL.match(line)
        if call is None:
            continue
        text = f"{call['what']} {call['rest']}"
        if SUFFIX in text:
            happened.append(call["name"].removesuffix("2"))  # pwritev2 where the C library has it
        elif (call["what"] or "").endswith("/spool") and call["name"] == "fsync":
            happened.append("fsync of the folder")
        elif call["name"] == "sendto" and '"\\4\\0' in text:  # the head of a P-DATA-TF
            happened.append("response")
    return happened


def test_nothing_acknowledged_is_lost_doubled_or_half_written(tmp_path: Path) -> None:
    outcome = kill_repeatedly(tmp_path / "node", kills=KILLS, objects=OBJECTS)
    assert outcome.acknowledged == OBJECTS
    assert (outcome.lost, outcome.doubled, outcome.half_written) == (0, 0, 0)
    assert unfinished_bytes(tmp_path / "node" / "spool") == 0
    assert len(outcome.first_acceptance_s) == KILLS + 1
    assert statistics.median(outcome.first_acceptance_s) < FIRST_ACCEPTANCE_S


@pytest.mark.parametrize("index_lost", [False, True])
@pytest.mark.parametrize("tear", TEARS)
def test_what_a_power_cut_tore_is_not_there_and_can_come_again(tmp_path: Path, tear: str, index_lost: bool) -> None:
    folder = tmp_path / "node"
    node = OurProcess(folder)
    with node, RawAssociation(node.port) as peer:
        assert peer.associate(called_ae=OUR_AE) == 2
        assert all(store(peer, number) for number in (1, 2, 3))
    *_, last = files = stored_files(SegmentSpool(folder / "spool"))
    assert len({file.path for file in files}) == 1
    assert last.size_bytes is not None
    with last.path.open("r+b") as segment:
        TEARS[tear](segment, last.start, last.size_bytes)
    forget(folder, index_lost=index_lost)
    spool, index = SegmentSpool(folder / "spool"), Index(open_database(folder / "node.sqlite"))
    assert index_unlisted(spool, index, alone=True) == (2 if index_lost else 0)
    assert [index.find_instance(uid_of(number)) is not None for number in (1, 2, 3)] == [True, True, False]
    cut_off = tear in ("head never written", "nothing written")
    assert (unfinished_bytes(folder / "spool") == 0) == cut_off, "what looks like a head stays"
    with node, RawAssociation(node.port) as peer:
        assert peer.associate(called_ae=OUR_AE) == 2
        assert all(store(peer, number) for number in (1, 2, 3))
    assert sorted(kept(spool)) == sorted(content_of(number) for number in (1, 2, 3))
    row = index.find_instance(uid_of(3))
    assert row is not None
    assert spool.describe(row.file).digest == row.digest


def forget(folder: Path, *, index_lost: bool) -> None:
    """All rows, or those of the third instance, which nobody had been told of."""
    if index_lost:
        for part in folder.glob("node.sqlite*"):
            part.unlink()
        return
    with closing(sqlite3.connect(folder / "node.sqlite")) as database, database:
        database.execute("DELETE FROM instances WHERE sop_instance_uid = ?", (uid_of(3),))


def test_a_lost_index_is_rebuilt_as_it_was(tmp_path: Path) -> None:
    node = OurProcess(tmp_path / "node")
    calling_aes = ("CT1", "SCANNER_16_CHARS", "PET CT 2")
    columns = "sop_instance_uid, study_uid, facts, path, start, file_bytes, digest, size_bytes, received_at, calling_ae"
    rows: list[list[tuple[object, ...]]] = []
    for start in range(2):
        began = time.time()
        with node, RawAssociation(node.port) as peer:
            if start == 0:
                for number, calling_ae in enumerate(calling_aes):
                    with RawAssociation(node.port) as sender:
                        assert sender.associate(called_ae=OUR_AE, calling_ae=calling_ae) == 2
                        assert store(sender, number)
            assert peer.associate(called_ae=OUR_AE) == 2
        with closing(sqlite3.connect(tmp_path / "node" / "node.sqlite")) as database:
            rows.append(list(database.execute(f"SELECT {columns} FROM instances ORDER BY sop_instance_uid")))
        if start == 0:
            assert [row[-1] for row in rows[0]] == list(calling_aes)
            assert all(began < float(str(row[-2])) < time.time() for row in rows[0])
            forget(tmp_path / "node", index_lost=True)
    assert rows[1] == rows[0]


@pytest.mark.parametrize("knows_identity", [False, True])
def test_bytes_of_a_peer_that_look_like_a_record_are_not_one(tmp_path: Path, knows_identity: bool) -> None:
    """A kill leaves a message unfinished, with a whole record inside where one may begin.

    With the identity of the segment, which no peer ever sees, the same bytes do pass: it is what keeps them out.
    """
    folder = tmp_path / "node"
    node = OurProcess(folder)
    node.start()
    with RawAssociation(node.port) as peer:
        assert peer.associate(called_ae=OUR_AE) == 2
        assert store(peer, 1)
        (segment,) = (folder / "spool").glob(f"*{SUFFIX}")
        carrier = carrying(record(bytes.fromhex(segment.stem) if knows_identity else bytes(IDENTITY_BYTES)))
        peer.socket.sendall(p_data(1, COMMAND | LAST, c_store_rq(uid_of(2))))
        for start in range(0, len(carrier), PDU_BYTES):
            peer.socket.sendall(p_data(1, 0, carrier[start : start + PDU_BYTES]))
        assert wait_until(lambda: segment.stat().st_size > ALIGNMENT + len(carrier) // 2, 10.0)
        node.end(kill=True)
    forget(folder, index_lost=True)
    spool, index = SegmentSpool(folder / "spool"), Index(open_database(folder / "node.sqlite"))
    assert index_unlisted(spool, index, alone=True) == 1 + knows_identity
    assert index.find_instance(uid_of(1)) is not None
    assert (index.find_instance(FORGED_UID) is not None) == knows_identity


FORGED_UID = uid_of(666)
PDU_BYTES = 256 * 1024


def record(identity: bytes) -> bytes:
    """A whole one."""
    meta, data_set = file_meta(CT, FORGED_UID, EXPLICIT), content_of(666)
    head = RecordHead(
        size_bytes=PREAMBLE_BYTES + len(meta) + len(data_set),
        data_set_start=PREAMBLE_BYTES + len(meta),
        digest=xxh3_128_digest(data_set),
        received_at=datetime.now(UTC),
        calling_ae="FORGED",
    )
    return encode_head(head, identity, meta) + meta + data_set


def carrying(inner: bytes) -> bytes:
    """The second instance with ``inner`` where a record may begin, and far more than stays in memory behind it."""
    start = PREAMBLE_BYTES + len(file_meta(CT, uid_of(2), EXPLICIT))
    before = content_of(2)
    element = b"\xe1\x7f\x10\x00LO\x06\x00FORGED" + b"\xe1\x7f\x10\x10OB\x00\x00"
    gap = bytes(-(start + len(before) + len(element) + 4) % ALIGNMENT)
    value = gap + inner + bytes(3 * BUFFER_BYTES)
    return before + element + len(value).to_bytes(4, "little") + value


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
    assert kept(SegmentSpool(tmp_path / "node" / "spool")) == [content_of(1)]
