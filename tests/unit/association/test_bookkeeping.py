"""Places, deadlines and the ledger: what bounds peers, and what must not be lost when the database is sick."""

import resource
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.association import ledger
from dicom_node.association.deadlines import Deadline, Watchdog
from dicom_node.association.ledger import Entry, Ledger
from dicom_node.association.places import Places
from dicom_node.errors import ResourceExhausted
from dicom_node.headers import facts_from_data_set
from dicom_node.index import Arrival
from dicom_node.spool import FileSpool
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
        self.asked = threading.Event()

    def rows(self) -> list[str]:
        return [uid for commit in self.commits for uid in commit]

    def add_instances(self, arrivals: Sequence[Arrival]) -> Sequence[str]:
        self.asked.set()
        if self.failures:
            self.failures -= 1
            raise OSError("disk is full")
        self.commits.append([arrival.instance.facts.sop_instance_uid for arrival in arrivals])
        return ()


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
def entry(tmp_path: Path) -> Callable[[int], Entry]:
    spool = FileSpool(tmp_path / "spool")

    def make(number: int) -> Entry:
        encoded = encoded_slice(number)
        writer = spool.begin(sop_instance_uid=slice_uid(number), sop_class_uid=CT, transfer_syntax_uid=EXPLICIT)
        writer.write([memoryview(encoded)])
        facts = facts_from_data_set(encoded, EXPLICIT)
        return Entry(facts=facts, path=writer.publish(), received_at=datetime.now(UTC), calling_ae="CT1")

    return make


def test_rows_are_committed_together_and_soon(tmp_path: Path, entry: Callable[[int], Entry]) -> None:
    entries = [entry(number) for number in range(5)]
    index = SickIndex()
    book = Ledger(FileSpool(tmp_path / "spool"), index)
    for one in entries:
        book.note(one)
    book.flush()
    assert index.rows() == [slice_uid(number) for number in range(5)]
    assert len(index.commits) <= 2
    book.close()


def test_a_sick_database_loses_no_row(
    tmp_path: Path, entry: Callable[[int], Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "RETRY_S", 0.05)
    index = SickIndex(failures=2)
    book = Ledger(FileSpool(tmp_path / "spool"), index)
    book.note(entry(1))
    assert index.asked.wait(5)
    book.note(entry(2))
    book.flush()
    assert index.rows() == [slice_uid(1), slice_uid(2)]
    book.close()


def test_a_database_that_stays_sick_stops_intake_and_decisions(
    tmp_path: Path, entry: Callable[[int], Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RETRY_S": 0.05, "PATIENCE_S": 0.2, "MAXIMUM_PENDING": 1}.items():
        monkeypatch.setattr(ledger, name, value)
    index = SickIndex(failures=10**6)
    book = Ledger(FileSpool(tmp_path / "spool"), index)
    book.require_room()
    book.note(entry(1))
    with pytest.raises(ResourceExhausted):
        book.flush()
    # Between two tries the rows are in the committing thread's hands.
    assert wait_until(lambda: refuses(book), timeout_s=5)
    index.failures = 0
    book.close()


def test_a_file_that_vanished_holds_up_no_other_row(tmp_path: Path, entry: Callable[[int], Entry]) -> None:
    gone, there = entry(1), entry(2)
    gone.path.unlink()
    index = SickIndex()
    book = Ledger(FileSpool(tmp_path / "spool"), index)
    book.note(gone)
    book.note(there)
    book.flush()
    assert index.rows() == [slice_uid(2)]
    book.close()


def test_a_node_out_of_descriptors_loses_no_row(
    tmp_path: Path, entry: Callable[[int], Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "RETRY_S", 0.05)
    index, one = SickIndex(), entry(1)
    book = Ledger(FileSpool(tmp_path / "spool"), index)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        book.note(one)
        time.sleep(0.6)  # GATHER_S, and a few tries
        assert not index.asked.is_set()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    book.flush()
    assert index.rows() == [slice_uid(1)]
    book.close()
