"""Reports of storage commitment towards peers of several kinds: encodings, encryption, and peers that take none."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from dicom_node.delivery.commitment_report import STORAGE_COMMITMENT, ReportPeer
from dicom_node.demonstration.orthanc import free_port
from dicom_node.errors import PeerRefused, PeerUnavailable
from dicom_node.records import CommitmentReport, SopReference
from dicom_node.settings import CommitmentSettings
from tests.certificates import Authority

REPORT = CommitmentReport(
    transaction_uid="1.2.826.0.1.3680043.10.5",
    committed=(SopReference(sop_class_uid=CTImageStorage, sop_instance_uid="1.2.3"),),
    failed=((SopReference(sop_class_uid=CTImageStorage, sop_instance_uid="1.2.4"), 0x0112),),
)
Listen = Callable[..., tuple[int, list[Dataset]]]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Starts a peer; its port, and the reports that it hears."""
    running: list[ThreadedAssociationServer] = []

    def start(
        *, syntax: str = ExplicitVRLittleEndian, scp_role: bool = True, status: int = 0,
        encryption: ssl.SSLContext | None = None,
    ) -> tuple[int, list[Dataset]]:  # fmt: skip
        heard: list[Dataset] = []

        def on_report(event: evt.Event) -> tuple[int, None]:
            heard.append(event.event_information)
            return status, None

        ae = AE(ae_title="CT1")
        ae.add_supported_context(STORAGE_COMMITMENT, syntax, scu_role=True, scp_role=scp_role)
        handlers = [(evt.EVT_N_EVENT_REPORT, on_report)]
        server = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=encryption  # type: ignore[arg-type]
        )  # fmt: skip
        assert server is not None
        running.append(server)
        return int(server.server_address[1]), heard

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def peer(port: int, **settings: object) -> ReportPeer:
    known = {"host": "127.0.0.1", "port": port, "connect_timeout_s": 5, "response_timeout_s": 5, **settings}
    return ReportPeer(CommitmentSettings.model_validate(known), ae_title="CT1", calling_ae="DICOMNODE")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_report_is_read_as_it_was_meant(listen: Listen, syntax: str) -> None:
    port, heard = listen(syntax=syntax)
    peer(port).send(REPORT)
    (report,) = heard
    assert report.TransactionUID == REPORT.transaction_uid
    assert [one.ReferencedSOPInstanceUID for one in report.ReferencedSOPSequence] == ["1.2.3"]
    assert [(one.ReferencedSOPInstanceUID, one.FailureReason) for one in report.FailedSOPSequence] == [
        ("1.2.4", 0x0112)
    ]
    assert "RetrieveAETitle" not in report


def test_a_report_goes_over_tls(listen: Listen, tmp_path: Path) -> None:
    authority, stranger = Authority.made(tmp_path / "ca"), Authority.made(tmp_path / "other", "Other CA")
    theirs, ours = authority.peer("ct1"), authority.peer("node")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.certificate, theirs.key)
    context.load_verify_locations(authority.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    port, heard = listen(encryption=context)
    peer(port, tls={"ca": authority.ca, **ours.settings}).send(REPORT)
    assert len(heard) == 1
    with pytest.raises(PeerUnavailable, match="certificate"):
        peer(port, tls={"ca": stranger.ca, **ours.settings}).send(REPORT)
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(0x0110, PeerUnavailable), (0x0213, PeerUnavailable), (0x0112, PeerRefused)]
)
def test_the_answer_says_whether_to_try_again(listen: Listen, status: int, error: type[Exception]) -> None:
    port, _ = listen(status=status)
    with pytest.raises(error, match=f"status {status:04X}"):
        peer(port).send(REPORT)


def test_a_peer_that_lets_nobody_be_scp_may_be_configured_better_later(listen: Listen) -> None:
    port, heard = listen(scp_role=False)
    with pytest.raises(PeerUnavailable, match="does not take reports of storage commitment"):
        peer(port).send(REPORT)
    with pytest.raises(PeerUnavailable, match="does not take reports of storage commitment"):
        peer(port).probe()
    assert heard == []


def test_a_peer_that_would_take_a_report_is_asked_without_one(listen: Listen) -> None:
    port, heard = listen()
    peer(port).probe()
    assert heard == []


# pynetdicom drops a refused socket without closing it; CPython closes it in the same moment, and warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nobody_there_is_for_later() -> None:
    with pytest.raises(PeerUnavailable):
        peer(free_port()).send(REPORT)
    with pytest.raises(PeerUnavailable):
        peer(free_port()).probe()
