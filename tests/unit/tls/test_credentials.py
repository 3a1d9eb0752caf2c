"""Every mistake in certificate files is found before anybody connects, with its setting, its file and what to do."""

import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from dicom_node.errors import SettingsError
from dicom_node.settings import PeerTlsSettings, ScpTlsSettings
from dicom_node.tls import Credentials, client_context, examine, server_context
from tests.certificates import Authority, Pair, run, self_signed

Change = Callable[[Pair, Path], Pair]


@pytest.fixture
def own(authority: Authority, tmp_path: Path) -> Pair:
    """A good pair in a folder of its own, to be spoilt."""
    good = authority.peer("node")
    pair = Pair(certificate=tmp_path / "node.pem", key=tmp_path / "node-key.pem")
    shutil.copy(good.certificate, pair.certificate)
    shutil.copy(good.key, pair.key)
    return pair


def examined(pair: Pair, ca: Path | None = None, *, serves: bool = True) -> tuple[tuple[str, ...], tuple[str, ...]]:
    credentials = Credentials(certificate=pair.certificate, key=pair.key, ca=ca, serves=serves)
    found = examine(credentials, where="scp.tls")
    return found.mistakes, found.warnings


def test_good_files_are_sound(own: Pair, authority: Authority) -> None:
    assert examined(own, authority.ca) == ((), ())
    assert examined(own, authority.ca, serves=False) == ((), ())


def der(pair: Pair, folder: Path) -> Pair:
    run("openssl", "x509", "-in", pair.certificate, "-outform", "der", "-out", folder / "node.der")
    return Pair(certificate=folder / "node.der", key=pair.key)


def encrypted(pair: Pair, folder: Path) -> Pair:
    protected = folder / "protected.pem"
    run("openssl", "pkey", "-in", pair.key, "-aes256", "-passout", "pass:secret", "-out", protected)
    return Pair(certificate=pair.certificate, key=protected)


def old_encrypted(pair: Pair, folder: Path) -> Pair:
    protected = folder / "protected.pem"
    run("openssl", "rsa", "-in", pair.key, "-aes256", "-traditional", "-passout", "pass:secret", "-out", protected)
    return Pair(certificate=pair.certificate, key=protected)


def readable_by_all(pair: Pair, _: Path) -> Pair:
    pair.key.chmod(0o644)
    return pair


def damaged(pair: Pair, _: Path) -> Pair:
    lines = pair.certificate.read_text().splitlines()
    pair.certificate.write_text("\n".join([*lines[:5], *lines[9:]]))
    return pair


def folder_as_key(pair: Pair, folder: Path) -> Pair:
    return Pair(certificate=pair.certificate, key=folder)


@pytest.mark.parametrize(
    ("spoil", "setting", "says"),
    [
        (lambda pair, folder: Pair(certificate=folder / "no.pem", key=pair.key), "certificate", "does not exist"),
        (lambda pair, folder: Pair(certificate=pair.certificate, key=folder / "no.pem"), "key", "does not exist"),
        (folder_as_key, "key", "cannot be read"),
        (der, "certificate", "is binary .*openssl x509 -inform der"),
        (lambda pair, _: Pair(certificate=pair.key, key=pair.key), "certificate", "holds a private key"),
        (lambda pair, _: Pair(certificate=pair.certificate, key=pair.certificate), "key", "but no private key"),
        (encrypted, "key", "passphrase.*openssl pkey"),
        (old_encrypted, "key", "passphrase.*openssl pkey"),
        (readable_by_all, "key", "every user of this machine: chmod 600"),
        (damaged, "certificate", "damaged"),
    ],
    ids=[
        "no certificate", "no key", "a folder", "DER", "key as certificate", "certificate as key", "encrypted",
        "encrypted (PKCS#1)", "readable", "damaged",
    ],
)  # fmt: skip
def test_each_mistake_names_setting_file_and_remedy(
    own: Pair, tmp_path: Path, spoil: Change, setting: str, says: str
) -> None:
    pair = spoil(own, tmp_path)
    ((mistake,), warnings) = examined(pair)
    assert mistake.startswith(f"scp.tls.{setting}: {getattr(pair, setting)} ")
    assert re.search(says, mistake), mistake
    assert warnings == ()


def test_both_files_are_told_at_once(tmp_path: Path) -> None:
    mistakes, _ = examined(Pair(certificate=tmp_path / "a", key=tmp_path / "b"), tmp_path / "c")
    assert [one.partition(":")[0] for one in mistakes] == ["scp.tls.certificate", "scp.tls.key", "scp.tls.ca"]


def test_key_of_another_certificate(authority: Authority) -> None:
    for other in (authority.peer("ct1"), authority.odd("elliptic")):
        pair = Pair(certificate=authority.peer("node").certificate, key=other.key)
        ((mistake,), _) = examined(pair)
        assert f"does not belong to the key {pair.key}" in mistake


@pytest.mark.parametrize("serves", [True, False])
def test_time_and_strength_are_judged_at_both_ends(authority: Authority, tmp_path: Path, serves: bool) -> None:
    expired = authority.odd("expired", ends=timedelta(days=-1))
    future = authority.odd("future", starts=timedelta(days=3))
    weak = self_signed(tmp_path, "weak", key=("-newkey", "rsa:1024", "-noenc"))
    for pair, says in ((expired, "has expired"), (future, "not valid yet"), (weak, "too weak")):
        ((mistake,), _) = examined(pair, serves=serves)
        assert says in mistake


def test_certificate_for_one_end_does_not_serve_at_the_other(authority: Authority) -> None:
    for usage, serves in (("clientAuth", True), ("serverAuth", False)):
        pair = authority.odd(usage, usage=usage)
        ((mistake,), _) = examined(pair, serves=serves)
        assert f"have one made for {'server' if serves else 'client'}Auth" in mistake
        assert examined(pair, serves=not serves) == ((), ())


def test_certificate_that_ends_soon_is_a_warning(authority: Authority) -> None:
    mistakes, (warning,) = examined(authority.odd("soon", ends=timedelta(days=9)))
    assert mistakes == ()
    assert "ends on" in warning


def test_authorities(own: Pair, authority: Authority, tmp_path: Path) -> None:
    lines = authority.ca.read_text().splitlines()
    broken = tmp_path / "broken.pem"
    broken.write_text("\n".join([*lines[:5], *lines[9:]]))
    empty = tmp_path / "empty.pem"
    empty.touch()
    old = authority.odd("old_ca", ends=timedelta(days=-1), constraints="CA:TRUE").certificate
    for path, says in (
        (broken, "damaged"),
        (empty, "holds no certificate"),
        (own.key, "no certificate"),
        (old, "only certificates that have expired"),
    ):
        ((mistake,), _) = examined(own, path)
        assert mistake.startswith(f"scp.tls.ca: {path} ")
        assert says in mistake
    both = tmp_path / "both.pem"
    both.write_text(f"Ünser Trust Center\n{old.read_text()}{authority.ca.read_text()}")
    assert examined(own, both) == ((), ())


def test_contexts_are_not_made_of_spoilt_files(own: Pair) -> None:
    own.key.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        server_context(ScpTlsSettings.model_validate(own.settings))
    with pytest.raises(SettingsError, match=r"destinations\[0\]\.tls\.key"):
        client_context(PeerTlsSettings.model_validate(own.settings), where="destinations[0].tls")


def test_script_says_what_it_needs(tmp_path: Path, authority: Authority) -> None:
    script = Path(__file__).parents[3] / "deploy" / "tls" / "certificates.sh"
    for arguments, says in (
        ([], "usage"),
        (["peer", tmp_path, "node"], "usage"),
        (["peer", tmp_path, "node", "host"], "no authority yet"),
        (["ca", authority.folder], "exists"),
    ):
        finished = subprocess.run(["sh", script, *arguments], capture_output=True, text=True, check=False)
        assert finished.returncode == 2
        assert says in finished.stderr
