"""Storage commitment with a real spool, index and workflow engine, and a peer that hears reports."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode

from dicom_node.association import Intake, ReceivedInstance
from dicom_node.association.commitment import WELL_KNOWN_INSTANCE, ActionStatus, FailureReason
from dicom_node.association.requests import CommitmentRequest
from dicom_node.delivery.commitment_report import STORAGE_COMMITMENT, ReportPeer
from dicom_node.demonstration.orthanc import free_port
from dicom_node.errors import StorageCorrupt
from dicom_node.flow import commit, commitment_pauses
from dicom_node.flow.commit import Committer
from dicom_node.flow.commitment_pauses import pause_s
from dicom_node.flow.durable import Durable
from dicom_node.index import CommitmentTable, Index, open_database
from dicom_node.records import CommitmentState, Part10File, Stored
from dicom_node.settings import CommitmentSettings
from dicom_node.spool import SegmentSpool
from tests.synthetic_ct import ct_slice

PEER = "CT1"
TRANSACTION = "1.2.826.0.1.3680043.10.5"
PATIENCE_S = 30.0


@dataclass
class Modality:
    """Listens where the node is told that the peer hears reports."""

    port: int = field(default_factory=free_port)
    status: int = 0x0000
    reports: list[tuple[int, Dataset]] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)

    def start(self) -> Callable[[], None]:
        """Returns what stops it."""
        ae = AE(ae_title=PEER)
        ae.add_supported_context(STORAGE_COMMITMENT, ExplicitVRLittleEndian, scu_role=True, scp_role=True)
        server = ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._on_report)],  # type: ignore[arg-type]
        )

        def stop() -> None:
            server.shutdown()
            server.server_close()

        return stop

    def _on_report(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append((event.request.EventTypeID, event.event_information))
        self.callers.append(event.assoc.requestor.ae_title)
        return self.status, None


@pytest.fixture
def modality() -> Iterator[Modality]:
    modality = Modality()
    stop = modality.start()
    yield modality
    stop()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Committer]]:
    """A committer whose workflows run, with instances 1 to 3 received."""
    monkeypatch.setattr(commitment_pauses, "FIRST_S", 0.3)
    running: list[Durable] = []

    def start_committer(port: int, *, retry_for_hours: float = 1.0) -> Committer:
        spool = SegmentSpool(tmp_path / "spool")
        database = open_database(tmp_path / "node.sqlite")
        index, durable = Index(database), Durable(tmp_path / "node.sqlite")
        intake = Intake(spool, index)
        for number in (1, 2, 3):
            intake(received(number))
        settings = CommitmentSettings(
            host="127.0.0.1", port=port, retry_for_hours=retry_for_hours, connect_timeout_s=5, response_timeout_s=5
        )
        committer = Committer(
            commitments=CommitmentTable(database), index=index, spool=spool, queue=durable,
            peers={PEER: ReportPeer(settings, ae_title=PEER, calling_ae="DICOMNODE")}, flush=intake.flush,
        )  # fmt: skip
        nothing = lambda *_: None  # noqa: E731
        durable.launch(process=nothing, deliver=nothing, report=committer.report)
        running.append(durable)
        return committer

    yield start_committer
    for durable in running:
        durable.stop()


def received(number: int) -> ReceivedInstance:
    image = ct_slice(number, (0.0, 0.0, float(number)))
    encoded = encode(image, False, True)
    assert encoded is not None
    return ReceivedInstance(
        calling_ae=PEER, sop_class_uid=CTImageStorage, sop_instance_uid=str(image.SOPInstanceUID),
        context_sop_class_uid=CTImageStorage, transfer_syntax_uid=ExplicitVRLittleEndian, encoded=encoded,
    )  # fmt: skip


def uid(number: int) -> str:
    return received(number).sop_instance_uid


def request(
    *numbers: int, peer: str = PEER, class_uid: str = CTImageStorage, transaction_uid: str = TRANSACTION
) -> CommitmentRequest:
    data = Dataset()
    data.TransactionUID = transaction_uid
    items = []
    for number in numbers:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = class_uid, uid(number)
        items.append(item)
    data.ReferencedSOPSequence = Items(items)
    encoded = encode(data, False, True)
    assert encoded is not None
    return CommitmentRequest(
        calling_ae=peer, address="127.0.0.1", sop_instance_uid=WELL_KNOWN_INSTANCE, action_type=1,
        transfer_syntax_uid=ExplicitVRLittleEndian, encoded=encoded,
    )  # fmt: skip


def wait_for(satisfied: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not satisfied():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def state(committer: Committer) -> CommitmentState:
    return committer.commitments.find(PEER, TRANSACTION).state


def committed(report: Dataset) -> list[str]:
    return [str(item.ReferencedSOPInstanceUID) for item in report.get("ReferencedSOPSequence", [])]


def failures(report: Dataset) -> dict[str, int]:
    return {str(item.ReferencedSOPInstanceUID): item.FailureReason for item in report.get("FailedSOPSequence", [])}


def test_everything_held_is_committed(start: Callable[..., Committer], modality: Modality) -> None:
    committer = start(modality.port)
    assert committer.accept(request(1, 2, 3)) == ActionStatus.SUCCESS
    wait_for(lambda: state(committer) is CommitmentState.REPORTED)
    ((event_type, report),) = modality.reports
    assert (event_type, report.TransactionUID) == (1, TRANSACTION)
    assert committed(report) == [uid(1), uid(2), uid(3)]
    assert "FailedSOPSequence" not in report
    assert modality.callers == ["DICOMNODE"]


def test_what_is_not_held_or_damaged_is_told(start: Callable[..., Committer], modality: Modality) -> None:
    committer = start(modality.port)
    committer.flush()
    damaged, missing = (committer.index.find_instance(uid(number)) for number in (2, 3))
    assert damaged is not None
    assert missing is not None
    with damaged.file.path.open("r+b") as segment:
        segment.seek(damaged.file.start + (damaged.file.size_bytes or 0) - 1)
        segment.write(b"\xff")
        segment.seek(missing.file.start)
        segment.write(bytes(128))
    assert committer.accept(request(1, 2, 3, 4)) == ActionStatus.SUCCESS
    wait_for(lambda: bool(modality.reports))
    ((event_type, report),) = modality.reports
    assert event_type == 2
    assert committed(report) == [uid(1)]
    assert failures(report) == {
        uid(2): FailureReason.PROCESSING_FAILURE,
        uid(3): FailureReason.PROCESSING_FAILURE,
        uid(4): FailureReason.NO_SUCH_INSTANCE,
    }


def test_another_class_is_a_conflict(start: Callable[..., Committer], modality: Modality) -> None:
    committer = start(modality.port)
    assert committer.accept(request(1, class_uid=MRImageStorage)) == ActionStatus.SUCCESS
    wait_for(lambda: bool(modality.reports))
    ((event_type, report),) = modality.reports
    assert (event_type, committed(report)) == (2, [])
    assert failures(report) == {uid(1): FailureReason.CLASS_CONFLICT}


def test_peer_that_is_away_hears_it_later(start: Callable[..., Committer]) -> None:
    modality = Modality()
    committer = start(modality.port)
    assert committer.accept(request(1)) == ActionStatus.SUCCESS
    wait_for(lambda: committer.commitments.find(PEER, TRANSACTION).tries >= 2)
    stop = modality.start()
    wait_for(lambda: state(committer) is CommitmentState.REPORTED)
    stop()
    assert len(modality.reports) == 1


def test_peer_that_is_away_costs_one_reading(start: Callable[..., Committer], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Part10File] = []
    describe = SegmentSpool.describe

    def counted(self: SegmentSpool, file: Part10File) -> Stored:
        read.append(file)
        return describe(self, file)

    modality = Modality()
    committer = start(modality.port)
    committer.flush()  # reads what it indexes
    monkeypatch.setattr(SegmentSpool, "describe", counted)
    assert committer.accept(request(1)) == ActionStatus.SUCCESS
    wait_for(lambda: committer.commitments.find(PEER, TRANSACTION).tries >= 3)
    assert len(read) == 1
    stop = modality.start()
    wait_for(lambda: state(committer) is CommitmentState.REPORTED)
    stop()
    assert len(read) == 2, "what is reported is what is there now"


def test_requests_that_wait_are_bounded(start: Callable[..., Committer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "MAXIMUM_WAITING", 2)
    committer = start(free_port())
    asked = [request(1, transaction_uid=f"1.2.{number}") for number in range(3)]
    assert [committer.accept(one) for one in asked] == [
        ActionStatus.SUCCESS, ActionStatus.SUCCESS, ActionStatus.RESOURCE_LIMITATION,
    ]  # fmt: skip
    assert committer.accept(asked[0]) == ActionStatus.SUCCESS, "it waits already"
    committer.commitments.end(PEER, "1.2.0", CommitmentState.EXPIRED, now=commit.utc_now())
    assert committer.accept(asked[2]) == ActionStatus.SUCCESS


def test_what_ended_long_ago_is_forgotten_and_the_oldest_of_many(
    start: Callable[..., Committer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "MOST_ENDED", 2)
    committer = start(free_port())
    now = commit.utc_now()
    ages = {"1.2.0": 0, "1.2.1": 1, "1.2.2": 2, "1.2.3": 31}
    for transaction_uid, days in ages.items():
        committer.accept(request(1, transaction_uid=transaction_uid))
        committer.commitments.end(PEER, transaction_uid, CommitmentState.REPORTED, now=now - timedelta(days=days))
    committer.accept(request(1))

    def kept() -> list[str]:
        found = []
        for transaction_uid in (*ages, TRANSACTION):
            with suppress(StorageCorrupt):
                found.append(committer.commitments.find(PEER, transaction_uid).transaction_uid)
        return found

    committer.prune()
    assert kept() == ["1.2.0", "1.2.1", TRANSACTION]
    monkeypatch.setattr(commit, "KEEP_ENDED", timedelta(hours=12))
    committer.prune()
    assert kept() == ["1.2.0", TRANSACTION]


def test_peer_that_stays_away_is_given_up(start: Callable[..., Committer]) -> None:
    committer = start(free_port(), retry_for_hours=1e-6)
    assert committer.accept(request(1)) == ActionStatus.SUCCESS
    wait_for(lambda: state(committer) is CommitmentState.EXPIRED)
    assert "did not accept the association" in committer.commitments.find(PEER, TRANSACTION).last_error


@pytest.mark.parametrize(("status", "end"), [(0x0112, CommitmentState.REFUSED), (0x0110, CommitmentState.WAITING)])
def test_answer_of_the_peer_counts(
    start: Callable[..., Committer], modality: Modality, status: int, end: CommitmentState
) -> None:
    modality.status = status
    committer = start(modality.port)
    committer.accept(request(1))
    wait_for(lambda: committer.commitments.find(PEER, TRANSACTION).tries >= 1)
    assert state(committer) is end
    assert f"status {status:04X}" in committer.commitments.find(PEER, TRANSACTION).last_error


def test_repeated_request_is_reported_once_more_only_after_the_first(
    start: Callable[..., Committer],
) -> None:
    modality = Modality()
    committer = start(modality.port)
    assert committer.accept(request(1, 2)) == committer.accept(request(1, 2)) == ActionStatus.SUCCESS
    assert committer.accept(request(1)) == ActionStatus.INVALID_ARGUMENT, "the same transaction, other instances"
    stop = modality.start()
    wait_for(lambda: state(committer) is CommitmentState.REPORTED)
    assert len(modality.reports) == 1
    assert committer.accept(request(1, 2)) == ActionStatus.SUCCESS
    wait_for(lambda: len(modality.reports) == 2)
    stop()


def test_nobody_is_told_where_no_address_is_configured(start: Callable[..., Committer], modality: Modality) -> None:
    committer = start(modality.port)
    assert committer.accept(request(1, peer="STRANGER")) == ActionStatus.NOT_AUTHORISED
    assert committer.commitments.waiting() == ()


def test_report_whose_workflow_was_lost_is_queued_again(start: Callable[..., Committer], modality: Modality) -> None:
    committer = start(modality.port)
    committer.commitments.open(
        PEER, TRANSACTION, [], now=commit.utc_now(), most_waiting=1, enqueue=lambda _connection: "lost"
    )
    durable = committer.queue
    assert isinstance(durable, Durable)
    assert committer.reconcile(durable.is_live) == 1
    wait_for(lambda: state(committer) is CommitmentState.REPORTED)
    assert committer.reconcile(durable.is_live) == 0


def test_requests_from_many_threads_are_kept_once_each(start: Callable[..., Committer], modality: Modality) -> None:
    committer = start(modality.port)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(committer.accept(request(1, 2)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [ActionStatus.SUCCESS] * 8
    wait_for(lambda: state(committer) is CommitmentState.REPORTED)


def test_pause_doubles_up_to_its_bound() -> None:
    assert [pause_s(tries) for tries in (1, 2, 3, 8, 1000)] == [5, 10, 20, 600, 600]
