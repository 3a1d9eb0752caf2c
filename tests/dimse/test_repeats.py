"""Instances that come again: at the same moment, after what is held was damaged, while the index cannot be read."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.raw_sender import COMMAND, DATA, LAST, RawAssociation, c_store_rq, p_data
from dicom_node.association import Intake, ledger
from dicom_node.association.recovery import index_unlisted
from dicom_node.association.requests import ReceivedInstance
from dicom_node.errors import InstanceRefused, StorageCorrupt, StoreStatus
from dicom_node.index import Arrival, Index, open_database
from dicom_node.records import Part10File, Stored
from dicom_node.spool import SegmentSpool
from dicom_node.spool.part10 import PREAMBLE_BYTES
from tests.dimse.conftest import OUR_AE, Receiver, encoded_slice, kept, slice_uid
from tests.spool_contents import stored_files

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
SENDERS = 4
SLOW_DISK_S = 0.05
TIMES = 5
OTHER_CONTENT = int(StoreStatus.OTHER_CONTENT)


def at_once(receiver: Receiver, number: int, contents: Sequence[bytes]) -> list[int | None]:
    """Each content under the same UID from an association of its own; their last bytes come in the same moment."""
    ready = threading.Barrier(len(contents))
    answers: list[int | None] = [None] * len(contents)

    def send(sender: int, encoded: bytes) -> None:
        with RawAssociation(receiver.port, timeout_s=20) as peer:
            assert peer.associate(called_ae=OUR_AE) == 2
            peer.socket.sendall(p_data(1, COMMAND | LAST, c_store_rq(slice_uid(number))))
            peer.socket.sendall(p_data(1, DATA, encoded[:-2]))
            ready.wait(20)
            peer.socket.sendall(p_data(1, LAST, encoded[-2:]))
            answers[sender] = peer.read_status()

    threads = [threading.Thread(target=send, args=pair) for pair in enumerate(contents)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time enough for the others to come while one waits for the disk."""
    fdatasync = os.fdatasync

    def slow(descriptor: int) -> None:
        time.sleep(SLOW_DISK_S)
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)


@pytest.mark.usefixtures("slow_disk")
def test_the_same_instance_at_the_same_moment_is_one_record(receiver: Receiver) -> None:
    for number in range(TIMES):
        assert at_once(receiver, number, [encoded_slice(number)] * SENDERS) == [0] * SENDERS
    assert sorted(kept(receiver.spool)) == sorted(encoded_slice(number) for number in range(TIMES))
    receiver.intake.flush()
    rows = [receiver.index.find_instance(slice_uid(number)) for number in range(TIMES)]
    assert {row.file for row in rows if row is not None} == set(stored_files(receiver.spool))


@pytest.mark.usefixtures("slow_disk")
def test_of_several_contents_at_the_same_moment_one_is_kept_and_the_others_are_refused(receiver: Receiver) -> None:
    for number in range(TIMES):
        contents = [encoded_slice(number, SeriesDescription=f"sender {sender}") for sender in range(SENDERS)]
        answers = at_once(receiver, number, contents)
        assert sorted(map(str, answers)) == sorted(map(str, [0] + [OTHER_CONTENT] * (SENDERS - 1)))
        assert kept(receiver.spool).count(contents[answers.index(0)]) == 1
    assert len(kept(receiver.spool)) == TIMES


def test_who_waits_for_one_that_fails_is_not_told_that_it_is_held(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first to come waits for a disk that fails it; the second has to be written by itself."""
    fdatasync, calls = os.fdatasync, iter(range(99))

    def fails_once(descriptor: int) -> None:
        if next(calls) == 0:
            time.sleep(SLOW_DISK_S)
            raise OSError(5, os.strerror(5))
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", fails_once)
    assert sorted(map(str, at_once(receiver, 1, [encoded_slice(1)] * 2))) == ["0", str(0x0110)]
    assert kept(receiver.spool) == [encoded_slice(1)]


def damage_pixels(file: Part10File) -> None:
    assert file.size_bytes is not None
    overwrite(file, file.size_bytes - 2, b"\xff")


def damage_head(file: Part10File) -> None:
    overwrite(file, 40, b"\xff" * 8)


def damage_file_meta(file: Part10File) -> None:
    overwrite(file, PREAMBLE_BYTES + 4, b"\xff" * 8)


def overwrite(file: Part10File, position: int, content: bytes) -> None:
    with file.path.open("r+b") as segment:
        segment.seek(file.start + position)
        segment.write(content)


def take_away(file: Part10File) -> None:
    file.path.unlink()


Damage = Callable[[Part10File], None]
DAMAGES: dict[str, Damage] = {
    "pixels": damage_pixels,
    "head of the record": damage_head,
    "file meta information": damage_file_meta,
    "the whole segment": take_away,
}


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_repeat_takes_the_place_of_what_was_damaged(
    start_receiver: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch, damage: Damage, committed: bool
) -> None:
    if not committed:
        monkeypatch.setattr(ledger, "GATHER_S", 60.0)
    receiver = start_receiver()
    assert at_once(receiver, 1, [encoded_slice(1)]) == [0]
    if committed:
        receiver.intake.flush()
    (before,) = stored_files(receiver.spool)
    damage(before)
    answers = [at_once(receiver, 1, [encoded_slice(1)]) for _ in range(3)]
    # Nothing can be appended to a segment that was taken away: its sender is told so, once.
    assert answers == ([[0x0110], [0], [0]] if damage is take_away else [[0]] * 3)
    receiver.intake.flush()
    row = receiver.index.find_instance(slice_uid(1))
    assert row is not None
    assert row.file != before
    assert receiver.spool.describe(row.file).digest == row.digest
    assert kept(receiver.spool) == [encoded_slice(1)]
    assert at_once(receiver, 1, [encoded_slice(1, SeriesDescription="changed")]) == [OTHER_CONTENT]


class BlindIndex(Index):
    """Of a database that can be written, and not always read."""

    blind = False

    def held(self, sop_instance_uid: str) -> Stored | None:
        if self.blind:
            raise StorageCorrupt("the index cannot be read (DatabaseError)")
        return super().held(sop_instance_uid)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[BlindIndex]:
    database = open_database(tmp_path / "node.sqlite")
    yield BlindIndex(database)
    database.dispose()


def received(encoded: bytes, number: int = 1) -> ReceivedInstance:
    return ReceivedInstance(
        calling_ae="CT1",
        sop_class_uid=CT,
        sop_instance_uid=slice_uid(number),
        context_sop_class_uid=CT,
        transfer_syntax_uid=EXPLICIT,
        encoded=encoded,
    )


def test_a_repeat_while_the_index_cannot_be_read_is_kept_and_has_one_row(tmp_path: Path, index: BlindIndex) -> None:
    spool = SegmentSpool(tmp_path / "spool")
    intake = Intake(spool, index)
    intake(received(encoded_slice(1)))
    intake.flush()
    index.blind = True
    intake(received(encoded_slice(1)))
    intake.flush()
    assert kept(spool) == [encoded_slice(1)] * 2, "who cannot ask keeps it"
    index.blind = False
    row = index.find_instance(slice_uid(1))
    assert row is not None
    assert row.file in stored_files(spool)
    intake(received(encoded_slice(1)))
    assert len(kept(spool)) == 2
    with pytest.raises(InstanceRefused, match="other content"):
        intake(received(encoded_slice(1, SeriesDescription="changed")))
    intake.close()


def test_other_content_while_the_index_cannot_be_read_changes_no_row(tmp_path: Path, index: BlindIndex) -> None:
    """Both stay in the spool, and the row keeps what it says, also when the node starts again."""
    spool, other = SegmentSpool(tmp_path / "spool"), encoded_slice(1, SeriesDescription="changed")
    intake = Intake(spool, index)
    intake(received(encoded_slice(1)))
    intake.flush()
    first = index.find_instance(slice_uid(1))
    index.blind = True
    intake(received(other))
    intake.close()
    index.blind = False
    assert sorted(kept(spool)) == sorted([encoded_slice(1), other])
    assert index.find_instance(slice_uid(1)) == first
    index_unlisted(spool, index, alone=True)
    assert index.find_instance(slice_uid(1)) == first
    assert sorted(kept(spool)) == sorted([encoded_slice(1), other])


def test_no_row_is_committed_before_those_of_what_lies_before_it_in_its_file(
    tmp_path: Path, index: BlindIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start looks at what lies behind the last row of each file only, so a kill must leave no gap before it."""
    durable, go_on = threading.Event(), threading.Event()
    note = ledger.Ledger.note

    def slow_note(self: ledger.Ledger, arrival: Arrival) -> None:
        if arrival.instance.facts.sop_instance_uid == slice_uid(1):
            durable.set()
            assert go_on.wait(20)
        note(self, arrival)

    monkeypatch.setattr(ledger.Ledger, "note", slow_note)
    intake = Intake(SegmentSpool(tmp_path / "spool"), index)
    slow = threading.Thread(target=intake, args=(received(encoded_slice(1)),))
    slow.start()
    assert durable.wait(20)
    intake(received(encoded_slice(2), number=2))
    intake.flush()
    assert index.find_instance(slice_uid(1)) is None
    assert index.find_instance(slice_uid(2)) is not None
    assert index_unlisted(SegmentSpool(tmp_path / "spool"), index, alone=False) == 1
    assert index.find_instance(slice_uid(1)) is not None
    go_on.set()
    slow.join()
    intake.close()
