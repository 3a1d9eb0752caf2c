"""What one association leaves in memory, and when its series are open, whatever its peer sends."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from benchmarks.raw_sender import c_store_rq
from dicom_node.association import Intake
from dicom_node.association.dialogue import Dialogue, Services
from dicom_node.association.ledger import Ledger
from dicom_node.association.negotiation import AcceptedContext
from dicom_node.index import Arrival, Index, open_database
from dicom_node.records import Right
from dicom_node.spool import SegmentSpool
from tests.dimse.conftest import encoded_slice, slice_uid
from tests.synthetic_ct import SERIES_UID

REFUSALS = 1000
CONTEXT = AcceptedContext(
    abstract_syntax=str(CTImageStorage), transfer_syntax=str(ExplicitVRLittleEndian), right=Right.STORE
)


@pytest.fixture
def dialogue(tmp_path: Path) -> Iterator[Dialogue]:
    database = open_database(tmp_path / "node.sqlite")
    intake = Intake(SegmentSpool(tmp_path / "spool"), Index(database))
    services = Services(intake=intake, commitment=None)
    peer = {"calling_ae": "CT1", "address": "10.0.0.1"}
    yield Dialogue({1: CONTEXT}, services, peer=peer, send=lambda _context, _command: None)
    intake.close()
    database.dispose()


def store(dialogue: Dialogue, encoded: bytes) -> None:
    dialogue.command_fragment(1, c_store_rq(slice_uid(1)), last=True)
    dialogue.data_fragment(1)
    dialogue.data([memoryview(encoded)])
    dialogue.data_set_complete()


def test_refused_instances_leave_no_series_behind(dialogue: Dialogue) -> None:
    store(dialogue, encoded_slice(1))
    for number in range(REFUSALS):
        store(dialogue, encoded_slice(1, SeriesInstanceUID=f"1.2.{number}"))
    traffic = dialogue.traffic
    assert (traffic.accepted, traffic.refused) == (1, REFUSALS)
    assert traffic.series == traffic.open_series() == {SERIES_UID}


def test_a_series_is_open_before_its_row_can_be_seen(dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch) -> None:
    note, seen = Ledger.note, []

    def look(ledger: Ledger, arrival: Arrival) -> None:
        seen.append(dialogue.traffic.open_series())
        note(ledger, arrival)

    monkeypatch.setattr(Ledger, "note", look)
    store(dialogue, encoded_slice(1))
    assert seen == [{SERIES_UID}]
    assert dialogue.traffic.opening is None
    assert dialogue.traffic.open_series() == {SERIES_UID}
