"""A renewed certificate is shown from the next handshake on; one that is not sound changes nothing and is told."""

import shutil
from datetime import timedelta
from pathlib import Path

import structlog

from dicom_node.settings import NodeSettings, PeerTlsSettings
from dicom_node.tls import server_context
from dicom_node.tls.renewal import CertificateWatch
from tests.certificates import Authority, Pair
from tests.unit.tls.test_handshakes import accepting, said_by_client


def copied(pair: Pair, own: Pair) -> None:
    shutil.copy(pair.certificate, own.certificate)
    shutil.copy(pair.key, own.key)


def test_renewed_files_are_taken_over_and_spoilt_ones_are_not(authority: Authority, tmp_path: Path) -> None:
    own = Pair(certificate=tmp_path / "node.pem", key=tmp_path / "node-key.pem")
    copied(authority.peer("node"), own)
    settings = NodeSettings.model_validate({"scp": {"tls": own.settings}})
    assert settings.scp.tls is not None
    watch = CertificateWatch(settings, server_context(settings.scp.tls))

    def name_is(name: str) -> bool:
        with accepting(watch.newest) as acceptor:
            return said_by_client(acceptor.port, PeerTlsSettings(ca=authority.ca, server_name=name)) == "hello"

    with structlog.testing.capture_logs() as logged:
        watch.look()
        assert logged == []
        copied(authority.peer("renewed", "renewed.hospital"), own)
        watch.look()
        assert name_is("renewed.hospital")
        shutil.copy(authority.peer("ct1").key, own.key)
        watch.look()
        watch.look()
        own.certificate.unlink()
        watch.look()
        assert name_is("renewed.hospital")
        copied(authority.peer("node"), own)
        watch.look()
        assert name_is("localhost")
    assert [one["event"] for one in logged] == [
        "certificate_renewed", "certificate_not_usable", "certificate_not_usable", "certificate_renewed",
    ]  # fmt: skip
    assert "does not belong to the key" in logged[1]["reason"]


def test_new_authority_is_trusted_and_an_old_one_no_more(authority: Authority, tmp_path: Path) -> None:
    other = Authority.made(tmp_path / "new", "New CA")
    ca = tmp_path / "ca.pem"
    shutil.copy(authority.ca, ca)
    settings = NodeSettings.model_validate({"scp": {"tls": {**authority.peer("node").settings, "ca": ca}}})
    assert settings.scp.tls is not None
    watch = CertificateWatch(settings, server_context(settings.scp.tls))
    ours = other.peer("ct1")
    client = PeerTlsSettings(ca=authority.ca, certificate=ours.certificate, key=ours.key)
    with accepting(watch.newest) as acceptor:
        assert "does not trust our certificate" in said_by_client(acceptor.port, client)
        ca.write_text(authority.ca.read_text() + other.ca.read_text())
        watch.look()
        assert said_by_client(acceptor.port, client) == "hello"
        ca.write_text(authority.ca.read_text())
        watch.look()
        assert "does not trust our certificate" in said_by_client(acceptor.port, client)


def test_revocation_list_is_honoured_from_its_coming_to_its_going(authority: Authority, tmp_path: Path) -> None:
    own = Authority.made(tmp_path / "revoking")
    lost = own.odd("lost")
    ca = tmp_path / "ca.pem"
    shutil.copy(own.ca, ca)
    settings = NodeSettings.model_validate({"scp": {"tls": {**authority.peer("node").settings, "ca": ca}}})
    assert settings.scp.tls is not None
    watch = CertificateWatch(settings, server_context(settings.scp.tls))
    client = PeerTlsSettings(ca=authority.ca, certificate=lost.certificate, key=lost.key)
    with accepting(watch.newest) as acceptor:
        assert said_by_client(acceptor.port, client) == "hello"
        shutil.copy(own.revoke(lost), ca)
        watch.look()
        assert "revoked" in said_by_client(acceptor.port, client)
        shutil.copy(own.ca, ca)
        watch.look()
        assert said_by_client(acceptor.port, client) == "hello"


def test_what_ends_soon_and_what_is_wrong_is_told_at_start(authority: Authority, tmp_path: Path) -> None:
    soon = authority.odd("ends_soon", ends=timedelta(days=5))
    destination = {"name": "p", "ae_title": "P", "host": "h", "port": 1, "tls": {"ca": tmp_path / "lost.pem"}}
    settings = NodeSettings.model_validate({"scp": {"tls": soon.settings}, "destinations": [destination]})
    with structlog.testing.capture_logs() as logged:
        watch = CertificateWatch(settings, None)
        watch.start()
        watch.stop()
    assert [one["event"] for one in logged] == ["certificate_not_usable", "certificate_ends_soon"]
    assert "destinations[0].tls.ca" in logged[0]["reason"]
