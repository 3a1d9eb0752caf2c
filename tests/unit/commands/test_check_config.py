"""``check-config`` tells every mistake in the certificates, and what the node would do with sound ones."""

from pathlib import Path

from click.testing import CliRunner

from dicom_node.__main__ import main
from tests.certificates import Authority


def checked(folder: Path, text: str) -> tuple[int, str]:
    file = folder / "node.toml"
    file.write_text(text)
    result = CliRunner().invoke(main, ["check-config", "--config", str(file)])
    return result.exit_code, result.output


def test_certificates_of_every_section_are_looked_at(tmp_path: Path) -> None:
    status, said = checked(
        tmp_path,
        "[scp.tls]\ncertificate = 'a.pem'\nkey = 'b.pem'\n"
        "[[destinations]]\nname = 'p'\nae_title = 'P'\nhost = 'h'\nport = 1\n[destinations.tls]\nca = 'c.pem'\n"
        "[audit.syslog]\nhost = 'h'\n[audit.syslog.tls]\nca = 'd.pem'\n"
        "[engine.triton.tls]\nca = 'e.pem'\n"
        "[[scp.peers]]\nae_title = 'A'\n[scp.peers.commitment]\nhost = 'h'\nport = 1\n"
        "[scp.peers.commitment.tls]\nca = 'f.pem'\n",
    )
    assert status == 2
    for setting, name in (
        ("scp.tls.certificate", "a"),
        ("scp.tls.key", "b"),
        ("destinations[0].tls.ca", "c"),
        ("audit.syslog.tls.ca", "d"),
        ("engine.triton.tls.ca", "e"),
        ("scp.peers[0].commitment.tls.ca", "f"),
    ):
        assert f"  {setting}: {tmp_path / name}.pem does not exist" in said


def test_it_says_on_which_ports_what_is_spoken(tmp_path: Path, authority: Authority) -> None:
    node = authority.peer("node")
    files = f"[scp.tls]\ncertificate = '{node.certificate}'\nkey = '{node.key}'\n"
    assert "port 11112, TLS without certificates of the senders" in checked(tmp_path, files)[1]
    status, said = checked(tmp_path, f"{files}ca = '{authority.ca}'\nport = 2762\n")
    assert "port 11112, unencrypted, and port 2762, TLS, takes from" in said
    assert status == 0
