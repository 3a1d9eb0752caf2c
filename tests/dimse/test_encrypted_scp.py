"""The Storage SCP over TLS: dcmtk and Orthanc as senders, who is refused and what the audit trail says of it."""

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.association import Association

from dicom_node.association import StorageScp
from dicom_node.association.auditing import AssociationAudit
from dicom_node.audit import AuditEvent
from dicom_node.demonstration.orthanc import OrthancServer
from dicom_node.settings import ScpSettings
from dicom_node.tls import server_context
from tests.certificates import Authority, Pair
from tests.dimse.conftest import OUR_AE, Receiver, Sender, encoded_slice, kept, slice_uid
from tests.synthetic_ct import ct_slice

Connect = Callable[..., Association]
Start = Callable[..., "Encrypted"]
VERIFICATION = "1.2.840.10008.1.1"
USER_REJECTION = 1
"""PS3.8 table 9-18."""


class Encrypted:
    """A listening node, and what its audit trail is told."""

    def __init__(self, receiver: Receiver, told: list[AuditEvent]) -> None:
        self.receiver = receiver
        self.told = told

    @property
    def scp(self) -> StorageScp:
        return self.receiver.scp

    def alerts(self, count: int) -> list[str]:
        """Reasons of refused peers, as soon as there are so many."""
        self.wait(lambda: len(self._of("Security Alert")) >= count)
        return [one.description for one in self._of("Security Alert")]

    def transfers(self) -> list[AuditEvent]:
        self.wait(lambda: bool(self._of("DICOM Instances Transferred")))
        return self._of("DICOM Instances Transferred")

    def _of(self, meaning: str) -> list[AuditEvent]:
        return [one for one in self.told if one.id.meaning == meaning]

    @staticmethod
    def wait(satisfied: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 15
        while not satisfied() and time.monotonic() < deadline:
            time.sleep(0.02)


@pytest.fixture
def start(start_receiver: Callable[..., Receiver], authority: Authority) -> Start:
    """A node with TLS, which asks peers for a certificate of the authority."""

    def started(*, ca: bool = True, port: int | None = None, **settings: object) -> Encrypted:
        told: list[AuditEvent] = []
        tls = {**authority.peer("node").settings, "ca": str(authority.ca) if ca else None, "port": port}
        both = {**settings, "tls": tls}
        tls_settings = ScpSettings.model_validate(both).tls
        assert tls_settings is not None
        context = server_context(tls_settings)
        parts = {
            "tls": lambda: context,
            "audit": AssociationAudit(record=told.append, ae_title=OUR_AE),
        }
        return Encrypted(start_receiver(parts=parts, **both), told)

    return started


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three Part 10 files."""
    paths = []
    for number in range(3):
        image = ct_slice(number, (0.0, 0.0, float(number)))
        image.PatientID, image.PatientName = "P", "P"
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        paths.append(tmp_path / f"{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def dcmtk(program: str, port: int, tls: list[str | Path], *files: Path, calling_ae: str = "CT1") -> int:
    command = [program, "-to", "5", "-aet", calling_ae, "-aec", OUR_AE, *tls, "localhost", str(port), *files]
    return subprocess.run(list(map(str, command)), capture_output=True, timeout=60, check=False).returncode


def shown(pair: Pair, ca: Path) -> list[str | Path]:
    return ["+tls", pair.key, pair.certificate, "+cf", ca]


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_dcmtk_stores_with_both_ends_verified_in_every_profile_of_bcp_195(
    start: Start, authority: Authority, files: list[Path], profile: str
) -> None:
    node = start()
    options = [*shown(authority.peer("ct1"), authority.ca), profile]
    assert dcmtk("echoscu", node.scp.port, options) == 0
    assert dcmtk("storescu", node.scp.port, options, *files) == 0
    assert len(kept(node.receiver.spool)) == 3
    (transfer,) = node.transfers()
    assert (transfer.study_uid, dict(transfer.instances)) == (
        ct_slice(1, (0, 0, 0)).StudyInstanceUID,
        {CTImageStorage: 3},
    )
    assert [one.ae_title for one in transfer.participants] == ["CT1", OUR_AE]
    assert transfer.participants[0].address == "127.0.0.1"
    assert node.alerts(0) == []


def test_orthanc_stores_over_tls(start: Start, authority: Authority, files: list[Path], tmp_path: Path) -> None:
    node = start()
    archive = authority.peer("archive")
    settings = {
        "DicomTlsCertificate": str(archive.certificate),
        "DicomTlsPrivateKey": str(archive.key),
        "DicomTlsTrustedCertificates": str(authority.ca),
        "DicomModalities": {
            "node": {"AET": OUR_AE, "Host": "localhost", "Port": node.scp.port, "UseDicomTls": True},
        },
    }
    with OrthancServer(tmp_path / "orthanc", settings=settings) as orthanc:
        for path in files:
            urllib.request.urlopen(f"{orthanc.http_url}/instances", data=path.read_bytes()).close()
        (study,) = orthanc.get("/studies")
        body = json.dumps({"Resources": [study], "Synchronous": True}).encode()
        with urllib.request.urlopen(f"{orthanc.http_url}/modalities/node/store", data=body) as answer:
            assert json.load(answer)["FailedInstancesCount"] == 0
    assert len(kept(node.receiver.spool)) == 3


def test_who_cannot_be_known_is_refused_and_audited_and_good_peers_go_on(
    start: Start, authority: Authority, files: list[Path], tmp_path: Path
) -> None:
    node = start()
    port = node.scp.port
    stranger = Authority.made(tmp_path / "elsewhere", "Other CA").peer("stranger")
    expired = authority.odd("expired_peer", ends=timedelta(days=-1))
    for number, (options, said) in enumerate(
        (
            (["+tla", "+cf", authority.ca], "showed no certificate"),
            (shown(stranger, authority.ca), "not trusted"),
            (shown(expired, authority.ca), "has expired"),
            ([], "speaks no TLS on this port"),
        ),
        start=1,
    ):
        assert dcmtk("echoscu", port, options) != 0
        alerts = node.alerts(number)
        assert len(alerts) == number
        assert said in alerts[-1]
    old = ["openssl", "s_client", "-connect", f"localhost:{port}", "-tls1_1", "-cipher", "ALL@SECLEVEL=0"]
    assert subprocess.run(old, input=b"", capture_output=True, timeout=30, check=False).returncode != 0
    assert "no TLS of version 1.2 or 1.3" in node.alerts(5)[-1]
    assert {one.alert_subject for one in node.told} == {"127.0.0.1"}
    assert dcmtk("storescu", port, shown(authority.peer("ct1"), authority.ca), *files) == 0


def test_peer_that_never_says_hello_is_evicted_and_holds_nobody_up(start: Start, authority: Authority) -> None:
    node = start(association_timeout_s=6.0)
    silent = [socket.create_connection(("127.0.0.1", node.scp.port)) for _ in range(90)]
    half = [socket.create_connection(("127.0.0.1", node.scp.port)) for _ in range(10)]
    for connection in half:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01")
    try:
        began = time.monotonic()
        assert dcmtk("echoscu", node.scp.port, shown(authority.peer("ct1"), authority.ca)) == 0
        assert time.monotonic() - began < 3.0, "while all of them still hold their connections"
        for connection in (*silent, *half):
            connection.settimeout(20)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    finally:
        for connection in (*silent, *half):
            connection.close()
    assert len(node.alerts(100)) == 100
    assert set(node.alerts(100)) == {"did not finish the TLS handshake in time"}


def test_without_ca_the_port_is_encrypted_and_takes_who_the_peers_allow(
    start: Start, authority: Authority, files: list[Path]
) -> None:
    node = start(ca=False, peers=[{"ae_title": "CT1"}])
    anonymous = ["+tla", "+cf", authority.ca]
    assert dcmtk("storescu", node.scp.port, anonymous, *files) == 0
    assert dcmtk("echoscu", node.scp.port, anonymous, calling_ae="CT2") != 0
    assert node.alerts(1) == ["calling AE title is no known peer"]


def test_second_port_speaks_tls_beside_the_unencrypted_one(
    start: Start, authority: Authority, files: list[Path], connect: Connect
) -> None:
    node = start(port=0, peers=[{"ae_title": "CT1", "certificate_name": "ct1"}, {"ae_title": "OLD"}])
    secure = shown(authority.peer("ct1"), authority.ca)
    assert node.scp.port != node.scp.tls_port
    assert dcmtk("storescu", node.scp.tls_port, secure, *files) == 0
    assert connect(node.scp.port, calling_ae="OLD").is_established
    assert not connect(node.scp.port, calling_ae="CT1").is_established, "its AE title belongs to a certificate"
    assert dcmtk("echoscu", node.scp.tls_port, shown(authority.peer("ct2"), authority.ca)) != 0
    assert node.alerts(2) == [
        "this AE title needs its certificate, and none was shown: the peer has to use TLS with it",
        "the certificate shown does not carry the name that belongs to this AE title",
    ]


def test_rights_decide_about_presentation_contexts(start_receiver: Callable[..., Receiver], connect: Connect) -> None:
    receiver = start_receiver(
        peers=[
            {"ae_title": "MONITOR", "rights": ["echo"]},
            {"ae_title": "CT1", "rights": ["store"], "address": "127.0.0.0/8"},
        ]
    )
    wanted = ((VERIFICATION, ExplicitVRLittleEndian), (CTImageStorage, ExplicitVRLittleEndian))
    for calling_ae, granted in (("MONITOR", VERIFICATION), ("CT1", CTImageStorage)):
        association = connect(receiver.port, *wanted, calling_ae=calling_ae)
        assert [one.abstract_syntax for one in association.accepted_contexts] == [granted]
        assert [one.result for one in association.rejected_contexts] == [USER_REJECTION]
    assert Sender(association).store(encoded_slice(1), instance_uid=slice_uid(1)).status == 0


def test_association_that_breaks_off_is_audited_as_failed_with_what_it_brought(
    start_receiver: Callable[..., Receiver], connect: Connect
) -> None:
    told: list[AuditEvent] = []
    receiver = start_receiver(parts={"audit": AssociationAudit(record=told.append, ae_title=OUR_AE)})
    association = connect(receiver.port)
    assert Sender(association).store(encoded_slice(1), instance_uid=slice_uid(1)).status == 0
    association.abort()
    Encrypted.wait(lambda: bool(told))
    (event,) = told
    assert (int(event.outcome), event.description, dict(event.instances)) == (
        4,
        "aborted by the peer",
        {CTImageStorage: 1},
    )
