"""A node and ``dicom-node receive`` on one spool: each appends to segments of its own, and nobody harms the other."""

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from pynetdicom.dsutils import split_dataset

from benchmarks.raw_sender import RawAssociation
from benchmarks.receiving.our_process import OurProcess
from dicom_node.index import Index, open_database
from dicom_node.spool import SegmentSpool
from dicom_node.spool.base import SpoolWriter
from dicom_node.spool.occupancy import Occupancy
from tests.dimse.conftest import kept
from tests.dimse.test_durability import CT, EXPLICIT, OUR_AE, content_of, forget, store, uid_of
from tests.spool_contents import stored_files, unfinished_bytes
from tests.synthetic_ct import ct_slice, write

INSTANCES, EACH = 120, 80
SENDERS = 2
LOOKED_S = 2.0


def files_of(folder: Path, numbers: range) -> Path:
    """The instances as files, with the very data sets that the senders bring."""
    images = [ct_slice(1, (0.0, 0.0, 1.0)) for _ in numbers]
    for number, image in zip(numbers, images, strict=True):
        image.SOPInstanceUID = uid_of(number)
    write(folder, images)
    first = folder / "0.dcm"
    assert first.read_bytes()[split_dataset(first)[1] :] == content_of(numbers.start)
    return folder


def holds_each_once(data_dir: Path) -> bool:
    """Every instance has one row, which leads to exactly its bytes."""
    index, spool = Index(open_database(data_dir / "node.sqlite")), SegmentSpool(data_dir / "spool")
    for number in range(INSTANCES):
        row = index.find_instance(uid_of(number))
        assert row is not None, number
        assert spool.describe(row.file).digest == row.digest
        segment = row.file.path.read_bytes()
        assert segment[row.file.start :][: row.file.size_bytes].endswith(content_of(number))
    (progress,) = index.receiving()
    (series,) = index.series_of_study(progress.study_uid, generation=progress.generation)
    return len(series.instances) == INSTANCES


def test_a_node_and_an_import_bring_the_same_instances_at_once(tmp_path: Path) -> None:
    data_dir = tmp_path / "node"
    # The two meet in the middle third, which both bring.
    folder = files_of(tmp_path / "files", range(INSTANCES - EACH, INSTANCES))
    command = [sys.executable, "-m", "dicom_node", "receive", str(folder), "--data-dir", str(data_dir)]
    answers: list[bool] = []

    def send(share: int) -> None:
        with RawAssociation(node.port, timeout_s=20) as peer:
            assert peer.associate(called_ae=OUR_AE) == 2
            for number in range(share, EACH, SENDERS):
                answers.append(store(peer, number))

    with OurProcess(data_dir) as node:
        importing = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while not stored_files(SegmentSpool(data_dir / "spool")):
            assert importing.poll() is None
            time.sleep(0.005)
        senders = [threading.Thread(target=send, args=(share,)) for share in range(SENDERS)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        output, _ = importing.communicate(timeout=60)
    assert importing.returncode == 0
    assert output.endswith(f"{EACH} of {EACH} files taken\n")
    assert answers == [True] * EACH
    assert unfinished_bytes(data_dir / "spool") == 0
    assert set(kept(SegmentSpool(data_dir / "spool"))) == set(map(content_of, range(INSTANCES)))
    assert holds_each_once(data_dir)
    forget(data_dir, index_lost=True)
    with node:
        pass
    assert holds_each_once(data_dir)


def begin(spool: SegmentSpool, number: int) -> SpoolWriter:
    return spool.begin(sop_instance_uid=uid_of(number), sop_class_uid=CT, transfer_syntax_uid=EXPLICIT)


def test_a_node_that_starts_takes_nothing_from_who_is_storing(tmp_path: Path) -> None:
    node, encoded = OurProcess(tmp_path / "node"), content_of(1)
    with node:
        pass
    occupancy, spool = Occupancy(tmp_path / "node" / "spool"), SegmentSpool(tmp_path / "node" / "spool")
    begin(spool, 2).write([memoryview(content_of(2))])  # never ends: this is what the start may remove, once alone
    writer = begin(spool, 1)
    writer.write([memoryview(encoded[:300])])
    with node:
        writer.write([memoryview(encoded[300:])])
        stored = writer.publish(received_at=datetime.now(UTC), calling_ae="folder")
        assert spool.describe(stored.file) == stored
    assert unfinished_bytes(tmp_path / "node" / "spool") > 0
    occupancy.close()
    with node:
        pass
    assert unfinished_bytes(tmp_path / "node" / "spool") == 0
    row = Index(open_database(tmp_path / "node" / "node.sqlite")).find_instance(uid_of(1))
    assert row is not None
    assert row.file == stored.file
    assert kept(spool) == [encoded]


DISCARDING = """
import os, sys
from pathlib import Path
from dicom_node.spool import SegmentSpool
from tests.dimse.test_two_processes import begin
spool, block = SegmentSpool(Path(sys.argv[1])), memoryview(os.urandom(4_000_000))
sys.stdout.write("ready\\n"); sys.stdout.flush()
while True:
    writer = begin(spool, 2)
    writer.write([block])
    writer.discard()
"""


def test_who_looks_through_a_spool_survives_what_another_discards(tmp_path: Path) -> None:
    """As a node does that starts while an import is refused its files: they grow and shrink under its eyes."""
    spool = SegmentSpool(tmp_path)
    writer = begin(spool, 1)
    writer.write([memoryview(content_of(1))])
    held = writer.publish(received_at=datetime.now(UTC), calling_ae="CT1")
    command = [sys.executable, "-c", DISCARDING, str(tmp_path)]
    discarding = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert discarding.stdout is not None
    try:
        assert discarding.stdout.readline() == "ready\n"
        deadline = time.monotonic() + LOOKED_S
        while time.monotonic() < deadline:
            assert [found.stored for found in spool.unlisted({}, alone=False)] == [held]
    finally:
        discarding.kill()
        discarding.wait()
        discarding.stdout.close()
