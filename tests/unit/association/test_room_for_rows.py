"""How much may wait for a database that takes its time."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.association.ledger import Ledger
from dicom_node.errors import ResourceExhausted
from dicom_node.headers import facts_from_data_set
from dicom_node.index import Arrival
from dicom_node.records import Part10File, Stored, StoredInstance
from tests.dimse.conftest import encoded_slice

SLICES = 20_000
"""That may wait at once, at least."""
MOST_FRAMES = 10_000
"""Of one image (``headers.facts``)."""


class BusyIndex:
    """Another process writes: a commit waits until ``idle``."""

    def __init__(self) -> None:
        self.asked, self.idle = threading.Event(), threading.Event()

    def add_instances(self, arrivals: Sequence[Arrival]) -> Sequence[str]:
        self.asked.set()
        assert self.idle.wait(30)
        return ()

    def held(self, sop_instance_uid: str) -> Stored | None:
        return None


@pytest.fixture
def index() -> BusyIndex:
    return BusyIndex()


@pytest.fixture
def book(index: BusyIndex) -> Iterator[Ledger]:
    ledger = Ledger(index)
    yield ledger
    index.idle.set()
    ledger.close()


def image(*, frames: int) -> Arrival:
    facts = facts_from_data_set(encoded_slice(1), ExplicitVRLittleEndian)
    instance = StoredInstance(
        facts=replace(facts, frames=facts.frames * frames), file=Part10File(Path("none")), digest="", size_bytes=0
    )
    return Arrival(instance=instance, received_at=datetime(2026, 1, 1, tzinfo=UTC), calling_ae="CT1")


def test_rows_on_their_way_count_until_they_are_there(book: Ledger, index: BusyIndex) -> None:
    one = image(frames=1)
    for _ in range(SLICES // 2):
        book.note(one)
    assert index.asked.wait(5), "the thread that commits has them in its hands"
    for _ in range(SLICES // 2):
        book.require_room()
        book.note(one)
    with pytest.raises(ResourceExhausted):
        book.require_room()
    index.idle.set()
    book.flush()
    book.require_room()


def test_frames_take_room_too(book: Ledger, index: BusyIndex) -> None:
    for _ in range(2 * SLICES // MOST_FRAMES):
        book.require_room()
        book.note(image(frames=MOST_FRAMES))
    with pytest.raises(ResourceExhausted):
        book.require_room()
