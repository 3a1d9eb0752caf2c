"""Places, deadlines and the ledger: what bounds peers, and what must not be lost when the database is sick."""

import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.association import ledger
from dicom_node.association.deadlines import Deadline, Watchdog
from dicom_node.association.ledger import InstanceIndex, Ledger
from dicom_node.association.places import Places
from dicom_node.errors import ResourceExhausted
from dicom_node.headers import facts_from_data_set
from dicom_node.index import Arrival, Index, open_database
from dicom_node.records import Stored, StoredInstance
from dicom_node.spool import SegmentSpool
from tests.dimse.conftest import encoded_slice, slice_uid

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


class Knocker:
    def __init__(self, address: str) -> None:
        self.address = address
        self.evicted = False
        self.deadline = Deadline()

    def evict(self) -> None:
        self.evicted = True


def test_the_oldest_knocker_of_the_busiest_address_goes() -> None:
    places = Places(associations=1, associations_per_peer=1, waiting=3)
    modality, *crowd = (Knocker(address) for address in ("10.0.0.1", "10.0.0.66", "10.0.0.66", "10.0.0.66"))
    for caller in (modality, *crowd):
        places.arrive(caller)
    assert [caller.evicted for caller in (modality, *crowd)] == [False, True, False, False]
    places.leave(crowd[1])
    places.arrive(Knocker("10.0.0.2"))
    assert not crowd[2].evicted


def test_one_peer_leaves_places_to_the_others() -> None:
    places = Places(associations=3, associations_per_peer=2)
    assert [places.take("A"), places.take("A"), places.take("A")] == [True, True, False]
    assert [places.take("B"), places.take("C")] == [True, False]
    places.give_back("A")
    assert [places.take("C"), places.take("A")] == [True, False]


def test_the_watchdog_evicts_who_is_late_and_nobody_else() -> None:
    late, patient, gone = Knocker("a"), Knocker("b"), Knocker("c")
    watchdog = Watchdog()
    for caller in (late, patient, gone):
        watchdog.add(caller)
        caller.deadline.within(0.01)
    patient.deadline.off()
    watchdog.remove(gone)
    watchdog.start()
    assert wait_until(lambda: late.evicted, timeout_s=5)
    watchdog.stop()
    assert [patient.evicted, gone.evicted] == [False, False]


class SickIndex:
    """Fails as often as it is told to, then keeps rows."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.commits: list[list[str]] = []
        self._kept: dict[str, Stored] = {}
        self.asked = threading.Event()

    def rows(self) -> list[str]:
        return [uid for commit in self.commits for uid in commit]

    def add_instances(self, arrivals: Sequence[Arrival]) -> Sequence[str]:
        self.asked.set()
        if self.failures:
            self.failures -= 1
            raise OSError("disk is full")
        self.commits.append([arrival.instance.facts.sop_instance_uid for arrival in arrivals])
        for instance in (arrival.instance for arrival in arrivals):
            stored = Stored(file=instance.file, digest=instance.digest, size_bytes=instance.size_bytes)
            self._kept[instance.facts.sop_instance_uid] = stored
        return ()

    def held(self, sop_instance_uid: str) -> Stored | None:
        return self._kept.get(sop_instance_uid)


def refuses(book: Ledger) -> bool:
    try:
        book.require_room()
    except ResourceExhausted:
        return True
    return False


def wait_until(satisfied: Callable[[], bool], *, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not (answer := satisfied()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return answer


@pytest.fixture
def arrival(tmp_path: Path) -> Iterator[Callable[[int], Arrival]]:
    """Makes an instance durable, which has no row yet."""
    spool = SegmentSpool(tmp_path / "spool")

    def make(number: int) -> Arrival:
        encoded, received_at = encoded_slice(number), datetime.now(UTC)
        writer = spool.begin(sop_instance_uid=slice_uid(number), sop_class_uid=CT, transfer_syntax_uid=EXPLICIT)
        writer.write([memoryview(encoded)])
        stored = writer.publish(received_at=received_at, calling_ae="CT1")
        instance = StoredInstance(
            facts=facts_from_data_set(encoded, EXPLICIT),
            file=stored.file,
            digest=stored.digest,
            size_bytes=stored.size_bytes,
        )
        return Arrival(instance=instance, received_at=received_at, calling_ae="CT1")

    yield make
    spool.close()


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[InstanceIndex], Ledger]]:
    """Makes ledgers that try again soon, and ends them."""
    monkeypatch.setattr(ledger, "RETRY_S", 0.05)
    books: list[Ledger] = []

    def make(index: InstanceIndex) -> Ledger:
        books.append(Ledger(index))
        return books[-1]

    yield make
    for book in books:
        book.close()


Arrives = Callable[[int], Arrival]
Keep = Callable[[InstanceIndex], Ledger]


def test_rows_are_committed_together_and_soon(arrival: Arrives, keep: Keep) -> None:
    index = SickIndex()
    book = keep(index)
    for one in [arrival(number) for number in range(5)]:
        book.note(one)
    book.flush()
    assert index.rows() == [slice_uid(number) for number in range(5)]
    assert len(index.commits) <= 2


def test_a_sick_database_loses_no_row(arrival: Arrives, keep: Keep) -> None:
    index = SickIndex(failures=2)
    book = keep(index)
    book.note(arrival(1))
    assert index.asked.wait(5)
    book.note(arrival(2))
    book.flush()
    assert index.rows() == [slice_uid(1), slice_uid(2)]


def test_what_has_no_row_yet_is_held(arrival: Arrives, keep: Keep) -> None:
    index = SickIndex(failures=10**6)
    book, first = keep(index), arrival(1)
    assert book.held(slice_uid(1)) is None
    book.note(first)
    for _ in range(2):
        held = book.held(slice_uid(1))
        assert held is not None
        assert (held.file, held.digest) == (first.instance.file, first.instance.digest)
        assert index.asked.wait(5), "now the row is in the hands of the thread that cannot commit it"
    index.failures = 0
    book.flush()
    assert book.held(slice_uid(1)) == index.held(slice_uid(1)) == held


def test_what_took_the_place_of_something_damaged_is_held_although_the_other_is_committed(
    arrival: Arrives, keep: Keep
) -> None:
    index = SickIndex()
    begun, go_on = threading.Event(), threading.Event()
    add = index.add_instances

    def slowly(arrivals: Sequence[Arrival]) -> Sequence[str]:
        begun.set()
        assert go_on.wait(5)
        return add(arrivals)

    index.add_instances = slowly  # type: ignore[method-assign]
    book, damaged, anew = keep(index), arrival(1), arrival(1)
    book.note(damaged)
    assert begun.wait(5)
    book.note(anew)
    begun.clear()
    go_on.set()
    assert wait_until(lambda: bool(index.commits), timeout_s=5)
    go_on.clear()
    assert begun.wait(5), "the second is in the hands of the thread, and the first committed"
    held = book.held(slice_uid(1))
    go_on.set()
    assert held is not None
    assert held.file == anew.instance.file != damaged.instance.file


def test_a_database_that_stays_sick_stops_intake_and_decisions(
    arrival: Arrives, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PATIENCE_S": 0.2, "MAXIMUM_PENDING": 1}.items():
        monkeypatch.setattr(ledger, name, value)
    index = SickIndex(failures=10**6)
    book = keep(index)
    book.require_room()
    book.note(arrival(1))
    with pytest.raises(ResourceExhausted):
        book.flush()
    # Between two tries the rows are in the committing thread's hands.
    assert wait_until(lambda: refuses(book), timeout_s=5)
    index.failures = 0


def test_a_record_that_vanished_holds_up_no_other_row(arrival: Arrives, keep: Keep, tmp_path: Path) -> None:
    gone, there = arrival(1), arrival(2)
    index = Index(open_database(tmp_path / "node.sqlite"))
    book = keep(index)
    gone.instance.file.path.unlink()
    book.note(gone)
    book.note(there)
    book.flush()
    assert index.find_instance(slice_uid(2)) == there.instance


def test_a_node_out_of_descriptors_loses_no_row(arrival: Arrives, keep: Keep, tmp_path: Path) -> None:
    database, one = open_database(tmp_path / "node.sqlite"), arrival(1)
    index = Index(database)
    book = keep(index)
    database.dispose()  # so that a commit needs a descriptor
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        book.note(one)
        time.sleep(0.6)  # GATHER_S, and a few tries
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    book.flush()
    assert index.find_instance(slice_uid(1)) == one.instance
