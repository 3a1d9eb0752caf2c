"""Every mistake in a certificate, its key and a CA file, found before anybody connects.

Each is told with the path of the setting, the file, and what to do. What OpenSSL alone can judge (does the key belong
to the certificate, is it valid today, is it meant for this) is asked of OpenSSL: by loading, and by a handshake of the
certificate with itself in memory.
"""

import ssl
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dicom_node.settings import NodeSettings, PeerTlsSettings, ScpTlsSettings, TritonTlsSettings
from dicom_node.tls.failures import EXPIRED, NOT_YET_VALID, WRONG_PURPOSE, reason_of

ENDS_SOON = timedelta(days=30)
"""Before the end of a certificate: time to have a new one made."""
CERTIFICATE_MARK = "-----BEGIN CERTIFICATE-----"
CERTIFICATE_END = "-----END CERTIFICATE-----"
PRIVATE_KEY_MARK = "PRIVATE KEY-----"
ENCRYPTED_MARKS = ("BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED")
ASN1_SEQUENCE = b"\x30"
"""First byte of certificates and keys in binary (DER, PKCS#12)."""

MOST_FLIGHTS = 4
"""Of a handshake: more than TLS 1.3 needs."""
TOO_WEAK = frozenset({"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"})
"""OpenSSL's names for keys and digests below its security level."""

MISMATCH = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
"""Its names for a key that is not the certificate's; the last for one of another kind (ECDSA for RSA)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The files of one end of a connection (PEM); ``None`` where it has none."""

    certificate: Path | None
    key: Path | None
    ca: Path | None
    serves: bool
    """Whether this end accepts the connection; certificates may be meant for one end only (Extended Key Usage)."""

    @classmethod
    def of_server(cls, settings: ScpTlsSettings) -> "Credentials":
        """Those of a port that accepts."""
        return cls(certificate=settings.certificate, key=settings.key, ca=settings.ca, serves=True)

    @classmethod
    def of_client(cls, settings: PeerTlsSettings | TritonTlsSettings) -> "Credentials":
        """Those for connecting to a peer."""
        return cls(certificate=settings.certificate, key=settings.key, ca=settings.ca, serves=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found: each text begins with the path of the setting."""

    mistakes: tuple[str, ...]
    """With these, nobody could connect, or the key is in danger."""
    warnings: tuple[str, ...]
    """What will be a mistake soon."""


class _Mistake(Exception):
    """A file that is not what it should be. The message goes on after the file's name, and says what to do."""


def examine(credentials: Credentials, *, where: str) -> Examination:
    """Look at the files of ``credentials``; ``where`` is the settings section that names them, e.g. ``scp.tls``."""
    mistakes: list[str] = []
    warnings: list[str] = []
    if credentials.certificate is not None and credentials.key is not None:
        mistakes += _mistakes(_look_at_certificate, credentials.certificate, f"{where}.certificate")
        mistakes += _mistakes(_look_at_key, credentials.key, f"{where}.key")
        if not mistakes:
            try:
                ends = _prove(credentials.certificate, credentials.key, serves=credentials.serves)
            except _Mistake as mistake:
                mistakes.append(f"{where}.certificate: {credentials.certificate} {mistake}")
            else:
                warnings += _soon(ends, f"{where}.certificate: {credentials.certificate}")
    if credentials.ca is not None:
        mistakes += _mistakes(_look_at_authorities, credentials.ca, f"{where}.ca")
    return Examination(mistakes=tuple(mistakes), warnings=tuple(warnings))


def examine_all(settings: NodeSettings) -> Examination:
    """Look at every file that the settings name for TLS, at all ends."""
    ends: dict[str, Credentials] = {}
    if settings.scp.tls is not None:
        ends["scp.tls"] = Credentials.of_server(settings.scp.tls)
    for number, peer in enumerate(settings.scp.peers):
        if peer.commitment is not None and peer.commitment.tls is not None:
            ends[f"scp.peers[{number}].commitment.tls"] = Credentials.of_client(peer.commitment.tls)
    for number, destination in enumerate(settings.destinations):
        if destination.tls is not None:
            ends[f"destinations[{number}].tls"] = Credentials.of_client(destination.tls)
    if settings.audit.syslog is not None:
        ends["audit.syslog.tls"] = Credentials.of_client(settings.audit.syslog.tls)
    if settings.engine.triton.tls is not None:
        ends["engine.triton.tls"] = Credentials.of_client(settings.engine.triton.tls)
    found = [examine(credentials, where=where) for where, credentials in ends.items()]
    return Examination(
        mistakes=tuple(text for one in found for text in one.mistakes),
        warnings=tuple(text for one in found for text in one.warnings),
    )


def _mistakes(look_at: Callable[[Path], None], path: Path, setting: str) -> list[str]:
    try:
        look_at(path)
    except _Mistake as mistake:
        return [f"{setting}: {path} {mistake}"]
    return []


def _soon(ends: datetime, what: str) -> list[str]:
    if ends - datetime.now(UTC) > ENDS_SOON:
        return []
    return [f"{what} ends on {ends:%Y-%m-%d}: have a new one made"]


def _look_at_certificate(path: Path) -> None:
    text = _pem(path)
    if CERTIFICATE_MARK not in text:
        found = "a private key: is it named as key?" if PRIVATE_KEY_MARK in text else "no certificate"
        raise _Mistake(f"holds {found} (expected a line {CERTIFICATE_MARK!r})")


def _look_at_key(path: Path) -> None:
    text = _pem(path)
    if PRIVATE_KEY_MARK not in text:
        found = "a certificate, but no private key" if CERTIFICATE_MARK in text else "no private key"
        raise _Mistake(f"holds {found} (expected a line like '-----BEGIN {PRIVATE_KEY_MARK}')")
    if any(mark in text for mark in ENCRYPTED_MARKS):
        raise _Mistake(
            "is protected by a passphrase, which nobody could type when the node starts: "
            "write it without one (openssl pkey -in FILE -out NEWFILE), readable by the node's user alone"
        )
    if path.stat().st_mode & stat.S_IROTH:
        raise _Mistake(f"can be read by every user of this machine: chmod 600 {path}, and have a new key made")


def _look_at_authorities(path: Path) -> None:
    text = _pem(path)
    if CERTIFICATE_MARK not in text:
        raise _Mistake(f"holds no certificate (expected a line {CERTIFICATE_MARK!r})")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=text[text.index(CERTIFICATE_MARK) :])
    except ssl.SSLError as error:
        raise _Mistake(f"holds a certificate that is damaged ({reason_of(error)}): copy it again") from error
    authorities = context.get_ca_certs()
    ended = [one for one in authorities if _time(str(one["notAfter"])) < datetime.now(UTC)]
    if ended and len(ended) == len(authorities):
        raise _Mistake("holds only certificates that have expired: put the CA's new one there")


def _pem(path: Path) -> str:
    """The text of a PEM file. Raises ``_Mistake``."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise _Mistake("does not exist (paths in the settings file are relative to its folder)") from error
    except PermissionError as error:
        raise _Mistake("may not be read by the user that the node runs as: change its owner or group") from error
    except OSError as error:
        raise _Mistake(f"cannot be read ({error.strerror})") from error
    if content.startswith(ASN1_SEQUENCE):
        raise _Mistake(
            "is binary (DER or PKCS#12), not PEM: convert it (openssl x509 -inform der, or openssl pkcs12 -nodes)"
        )
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        # Some authorities write names in clear before each certificate.
        return content.decode("utf-8", errors="replace").encode("ascii", "replace").decode()


def _prove(certificate: Path, key: Path, *, serves: bool) -> datetime:
    """Let the certificate shake hands with itself, as both ends; returns when it ends. Raises ``_Mistake``.

    The end that does not own it here verifies it, with the certificate itself as all that it trusts.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    verifying = client if serves else server
    verifying.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        server.load_cert_chain(certificate, key)
        client.load_cert_chain(certificate, key)
        verifying.load_verify_locations(cadata=_first_certificate(certificate))
        verifying.verify_mode = ssl.CERT_REQUIRED
        ends = _time(str(_handshake(server, client, verifying)["notAfter"]))
    except ssl.SSLError as error:
        raise _Mistake(_what_to_do(error, key, "server" if serves else "client")) from error
    return ends


def _first_certificate(path: Path) -> str:
    text = _pem(path)
    return text[text.index(CERTIFICATE_MARK) : text.index(CERTIFICATE_END) + len(CERTIFICATE_END)] + "\n"


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, verifying: ssl.SSLContext) -> dict[str, object]:
    """A handshake in memory; returns the certificate that ``verifying`` was shown. Raises ``ssl.SSLError``."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    for _ in range(MOST_FLIGHTS):
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return next(dict(end.getpeercert() or {}) for end in ends if end.context is verifying)


def _what_to_do(error: ssl.SSLError, key: Path, end: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == EXPIRED:
            return "has expired: have a new one made"
        if error.verify_code == NOT_YET_VALID:
            return "is not valid yet: wait, or set this machine's clock right"
        if error.verify_code == WRONG_PURPOSE:
            return f"is not meant for a TLS {end} (Extended Key Usage): have one made for {end}Auth"
        return f"does not verify ({error.verify_message})"
    if error.reason in MISMATCH:
        return f"does not belong to the key {key}: they must come from one request"
    if error.reason in TOO_WEAK:
        return "is too weak to be accepted (RFC 9325: at least RSA 2048 or ECDSA P-256, and SHA-256)"
    return f"cannot be used with the key {key} ({reason_of(error)}): one of the two files is damaged"


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
