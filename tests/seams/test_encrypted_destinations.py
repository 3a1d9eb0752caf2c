"""Destinations over TLS: dcmtk's storescp and Orthanc, and what an operator reads where it does not work."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from dicom_node.__main__ import main
from dicom_node.delivery import DimseDestination
from dicom_node.demonstration.orthanc import OrthancServer, free_port
from dicom_node.errors import PeerUnavailable
from dicom_node.settings import DestinationSettings
from tests.certificates import Authority, Pair
from tests.seams.test_destinations import AE_TITLE, result
from tests.synthetic_ct import ct_slice

Start = Callable[..., int]


@pytest.fixture
def storescp(tmp_path: Path, authority: Authority) -> Iterator[Start]:
    """Starts dcmtk's storescp with a certificate; it asks for one of the authority, unless told otherwise."""
    running: list[subprocess.Popen[bytes]] = []

    def start(pair: Pair | None, *options: str) -> int:
        (tmp_path / "storescp").mkdir(exist_ok=True)
        port = free_port()
        tls = [] if pair is None else ["+tls", pair.key, pair.certificate, "+cf", authority.ca]
        command = ["storescp", "-aet", AE_TITLE, "-od", tmp_path / "storescp", *tls, *options, str(port)]
        running.append(subprocess.Popen(list(map(str, command))))
        wait_for(port)
        return port

    yield start
    for process in running:
        process.kill()
        process.wait()


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def destination(port: int, tls: dict[str, object], *, ae_title: str = AE_TITLE) -> DimseDestination:
    settings = DestinationSettings.model_validate(
        {
            "name": "pacs",
            "ae_title": ae_title,
            "host": "localhost",
            "port": port,
            "connect_timeout_s": 3,
            "response_timeout_s": 5,
            "tls": tls,
        }
    )
    return DimseDestination(settings, calling_ae="DICOMNODE")


def ours(authority: Authority, **changes: object) -> dict[str, object]:
    return {"ca": authority.ca, **authority.peer("node").settings, **changes}


def test_objects_arrive_at_dcmtk_with_both_ends_verified(tmp_path: Path, authority: Authority, storescp: Start) -> None:
    target = destination(storescp(authority.peer("archive")), ours(authority))
    target.echo()
    outcomes = list(target.send([result(tmp_path / "results", number) for number in range(3)]))
    assert all(one.accepted for one in outcomes), outcomes
    assert len(list((tmp_path / "storescp").iterdir())) == 3


def test_objects_arrive_at_orthanc(tmp_path: Path, authority: Authority) -> None:
    archive = authority.peer("archive")
    settings = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(archive.certificate),
        "DicomTlsPrivateKey": str(archive.key),
        "DicomTlsTrustedCertificates": str(authority.ca),
    }
    with OrthancServer(tmp_path / "orthanc", settings=settings) as orthanc:
        target = destination(orthanc.dicom_port, ours(authority), ae_title="ORTHANC")
        target.echo()
        assert all(one.accepted for one in target.send([result(tmp_path / "results", 1)]))
        assert orthanc.modalities_of(ct_slice(1, (0, 0, 0)).StudyInstanceUID) == ["CT"]
        with pytest.raises(PeerUnavailable, match="a certificate of ours"):
            destination(orthanc.dicom_port, {"ca": authority.ca}, ae_title="ORTHANC").echo()


def test_what_does_not_work_is_said_with_its_reason_and_is_for_later(
    tmp_path: Path, authority: Authority, storescp: Start
) -> None:
    other = Authority.made(tmp_path / "elsewhere", "Other CA")
    archive = authority.peer("archive")
    encrypted, plain = storescp(archive), storescp(None)
    elsewhere = storescp(authority.peer("pacs", "pacs.hospital"))
    expired = storescp(authority.odd("expired_archive", ends=timedelta(days=-1)))
    for port, tls, said in (
        (encrypted, {"ca": other.ca, **authority.peer("node").settings}, "is not trusted"),
        (encrypted, {"ca": authority.ca}, "a certificate of ours"),
        (encrypted, {"ca": authority.ca, **other.peer("node").settings}, "does not trust our certificate"),
        (elsewhere, ours(authority), "for another name"),
        (expired, ours(authority), "has expired"),
        (plain, ours(authority), "speaks no TLS on this port"),
        (free_port(), ours(authority), r"cannot be reached \(Connection refused\)"),
    ):
        with pytest.raises(PeerUnavailable, match=said) as raised:
            list(destination(port, tls).send([result(tmp_path / "results", 1)]))
        assert str(raised.value).startswith(f"{AE_TITLE}@localhost:{port} ")
    destination(elsewhere, ours(authority, server_name="pacs.hospital")).echo()
    with pytest.raises(PeerUnavailable, match=r"pacs\.tls\.key: .*lost\.pem does not exist"):
        destination(encrypted, ours(authority, key=str(tmp_path / "lost.pem"))).echo()


@contextmanager
def silent() -> Iterator[int]:
    """A port that accepts and says nothing."""
    listening = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                taken.append(listening.accept()[0])

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
        for connection in taken:
            connection.close()


def test_peer_that_never_answers_the_hello_is_given_up(authority: Authority) -> None:
    with silent() as port:
        started = time.monotonic()
        with pytest.raises(PeerUnavailable, match="did not answer in time"):
            destination(port, ours(authority)).echo()
        assert time.monotonic() - started < 10


def test_send_command_sends_over_tls(tmp_path: Path, authority: Authority, storescp: Start) -> None:
    address = f"{AE_TITLE}@localhost:{storescp(authority.peer('archive'))}"
    result(tmp_path / "results", 1)
    node = authority.peer("node")
    ours = ["--certificate", str(node.certificate), "--key", str(node.key)]
    for options, status, said in (
        (["--ca", str(authority.ca), *ours], 0, "1 of 1 instances accepted"),
        (["--ca", str(authority.ca)], 1, "a certificate of ours"),
        (ours, 2, "go together, and with --ca"),
    ):
        answer = CliRunner().invoke(main, ["send", str(tmp_path / "results"), address, *options])
        assert (answer.exit_code, said in answer.output) == (status, True), answer.output


def test_echo_command_asks_over_tls(tmp_path: Path, authority: Authority, storescp: Start) -> None:
    port = storescp(authority.peer("archive"))
    settings = tmp_path / "node.toml"

    def asked(ca: Path) -> tuple[int, str]:
        node = authority.peer("node")
        settings.write_text(
            f"[[destinations]]\nname = 'pacs'\nae_title = '{AE_TITLE}'\nhost = 'localhost'\nport = {port}\n"
            f"[destinations.tls]\nca = '{ca}'\ncertificate = '{node.certificate}'\nkey = '{node.key}'\n"
        )
        answer = CliRunner().invoke(main, ["echo", "pacs", "--config", str(settings)])
        return answer.exit_code, answer.output

    assert asked(authority.ca)[0] == 0
    status, said = asked(authority.peer("node").certificate)
    assert status == 1
    assert "shows a certificate that is not trusted" in said
