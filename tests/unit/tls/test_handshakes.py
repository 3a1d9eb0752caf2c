"""What the contexts take and refuse, between sockets and with openssl as the other end, and what is said about it."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from dicom_node.settings import PeerTlsSettings, ScpTlsSettings
from dicom_node.tls import certificate_names, client_context, explain, server_context
from tests.certificates import Authority, Pair, self_signed

TIMEOUT_S = 10.0


class Acceptor:
    """Accepts one connection after the other and notes how each handshake ended."""

    def __init__(self, context: Callable[[], ssl.SSLContext] | None) -> None:
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.said: list[str] = []
        self.names: tuple[str, ...] = ()
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                connection.settimeout(TIMEOUT_S)
                with connection:
                    self._answer(connection)
                self.done.set()

    def _answer(self, connection: socket.socket) -> None:
        if self._context is None:
            connection.recv(4096)
            connection.sendall(b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x07")  # A-ASSOCIATE-RJ
            return
        try:
            with self._context().wrap_socket(connection, server_side=True) as secure:
                self.names = certificate_names(secure)
                self.said.append(str(secure.version()))
                secure.sendall(b"hello")
        except OSError as error:
            self.said.append(explain(error))

    def close(self) -> None:
        # A blocked accept is not woken by close alone.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@contextmanager
def accepting(context: ssl.SSLContext | Callable[[], ssl.SSLContext] | None) -> Iterator[Acceptor]:
    acceptor = Acceptor((lambda: context) if isinstance(context, ssl.SSLContext) else context)
    try:
        yield acceptor
    finally:
        acceptor.close()


def server(pair: Pair, ca: Path | None = None) -> ssl.SSLContext:
    return server_context(ScpTlsSettings(certificate=pair.certificate, key=pair.key, ca=ca))


def expired_server(authority: Authority) -> ssl.SSLContext:
    """As a peer may run it; ours would not start."""
    pair = authority.odd("expired_archive", ends=timedelta(days=-1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def said_by_client(port: int, settings: PeerTlsSettings, host: str = "localhost") -> str:
    """What a client says: the answer's text, or why there was none."""
    context = client_context(settings, where="destinations[0].tls")
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=settings.server_name or host) as secure,
        ):
            return secure.recv(100).decode()
    except OSError as error:
        return explain(error)


def openssl_client(port: int, *options: str | Path) -> str:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-brief", *map(str, options)]
    finished = subprocess.run(command, input=b"", capture_output=True, timeout=TIMEOUT_S, check=False)
    return (finished.stdout + finished.stderr).decode()


def test_both_ends_verified_speak_tls_1_3_and_know_each_other(authority: Authority) -> None:
    ct7 = authority.peer("ct7", "192.0.2.7", "ct7.hospital", "2001:db8::7")
    with accepting(server(authority.peer("node"), authority.ca)) as acceptor:
        ours = PeerTlsSettings(ca=authority.ca, certificate=ct7.certificate, key=ct7.key)
        assert said_by_client(acceptor.port, ours) == "hello"
        assert acceptor.said == ["TLSv1.3"]
        assert acceptor.names == ("ct7.hospital", "192.0.2.7", "2001:db8::7", "ct7")


@pytest.mark.parametrize(
    ("options", "spoken", "said"),
    [
        (("-tls1_3",), "TLSv1.3", "TLSv1.3"),
        (("-tls1_2",), "TLSv1.2", "TLSv1.2"),
        (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), "TLSv1.2", "TLSv1.2"),
        (("-tls1_2", "-cipher", "AES256-SHA256"), "handshake failure", "has no cipher in common with us (BCP 195)"),
        (("-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA384"), "handshake failure", "has no cipher in common"),
        (("-tls1_1", "-cipher", "ALL@SECLEVEL=0"), "protocol version", "speaks no TLS of version 1.2 or 1.3"),
    ],
)
def test_versions_and_ciphers_are_those_of_bcp_195(
    authority: Authority, options: tuple[str, ...], spoken: str, said: str
) -> None:
    with accepting(server(authority.peer("node"))) as acceptor:
        assert spoken in openssl_client(acceptor.port, *options)
        assert acceptor.done.wait(TIMEOUT_S)
        assert acceptor.said[0].startswith(said)


def test_peers_must_show_a_certificate_of_our_authority(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority.made(tmp_path / "elsewhere", "Other CA").peer("stranger")
    expired = authority.odd("expired_peer", ends=timedelta(days=-1))
    with accepting(server(authority.peer("node"), authority.ca)) as acceptor:
        for pair, said in (
            (None, "showed no certificate"),
            (stranger, "not trusted"),
            (expired, "expired"),
            (authority.odd("server_only", usage="serverAuth"), "not meant for this end"),
        ):
            shown = () if pair is None else ("-cert", pair.certificate, "-key", pair.key)
            acceptor.said.clear()
            acceptor.done.clear()
            openssl_client(acceptor.port, "-tls1_2", *shown)
            assert acceptor.done.wait(TIMEOUT_S)
            assert said in acceptor.said[0]
        assert acceptor.names == ()


def test_revoked_peer_is_refused_where_the_ca_file_brings_a_list(authority: Authority, tmp_path: Path) -> None:
    own = Authority.made(tmp_path / "revoking")
    lost, kept = own.odd("lost"), own.odd("kept")
    with accepting(server(authority.peer("node"), own.revoke(lost))) as acceptor:
        openssl_client(acceptor.port, "-tls1_2", "-cert", lost.certificate, "-key", lost.key)
        assert acceptor.done.wait(TIMEOUT_S)
        assert acceptor.said == ["shows a certificate that was revoked"]
        said = said_by_client(
            acceptor.port, PeerTlsSettings(ca=authority.ca, certificate=kept.certificate, key=kept.key)
        )
        assert said == "hello"


def test_what_is_not_tls_at_all_is_named(authority: Authority) -> None:
    with accepting(server(authority.peer("node"))) as acceptor:
        for sent, said in (
            (b"GET / HTTP/1.1\r\n\r\n", "speaks HTTP"),
            (b"\x01\x00\x00\x00\x00\x10" + bytes(16), "speaks no TLS on this port"),
            (b"", "ended the connection"),
        ):
            acceptor.said.clear()
            acceptor.done.clear()
            with socket.create_connection(("127.0.0.1", acceptor.port)) as connection:
                connection.sendall(sent)
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(100)
            assert acceptor.done.wait(TIMEOUT_S)
            assert said in acceptor.said[0]


def test_client_refuses_whom_it_cannot_know(authority: Authority, tmp_path: Path) -> None:
    other = Authority.made(tmp_path / "elsewhere", "Other CA")
    alone = self_signed(tmp_path / "alone", "archive")
    pacs = server(authority.peer("pacs", "pacs.hospital"))
    for context, changes, said in (
        (pacs, {}, "for another name: set server_name"),
        (pacs, {"server_name": "pacs.hospital"}, "hello"),
        (pacs, {"check_name": False}, "hello"),
        (expired_server(authority), {}, "has expired"),
        (server(other.peer("archive")), {}, "not trusted: no CA"),
        (server(authority.peer("node")), {"ca": None}, "not trusted: no CA"),
        (server(alone), {}, "self-signed certificate that is not in the ca file"),
        (server(alone), {"ca": alone.certificate}, "hello"),
        (server(authority.peer("node")), {"ca": authority.peer("node").certificate}, "hello"),
    ):
        with accepting(context) as acceptor:
            settings = PeerTlsSettings.model_validate({"ca": authority.ca, **changes})
            assert said in said_by_client(acceptor.port, settings), changes
    with accepting(pacs) as acceptor:
        said = said_by_client(acceptor.port, PeerTlsSettings(ca=authority.ca), host="127.0.0.1")
        assert "does not name its address" in said


def test_client_is_told_why_the_peer_refuses_it(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority.made(tmp_path / "elsewhere", "Other CA").peer("stranger")
    with accepting(server(authority.peer("node"), authority.ca)) as acceptor:
        assert "asks for a certificate of ours" in said_by_client(acceptor.port, PeerTlsSettings(ca=authority.ca))
        ours = PeerTlsSettings(ca=authority.ca, certificate=stranger.certificate, key=stranger.key)
        assert "does not trust our certificate" in said_by_client(acceptor.port, ours)
    with accepting(None) as acceptor:
        assert "speaks no TLS" in said_by_client(acceptor.port, PeerTlsSettings(ca=authority.ca))
