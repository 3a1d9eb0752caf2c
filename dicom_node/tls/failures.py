"""Why a connection over TLS failed, in words that name the cause and the side that has to change something.

The words complete "the peer …", so that both ends can say them. OpenSSL's names of errors are of version 3
(include/openssl/sslerr.h, x509_vfy.h); one that is not listed is told as OpenSSL calls it.
"""

import ipaddress
import ssl
from collections.abc import Mapping

EXPIRED, NOT_YET_VALID, WRONG_PURPOSE = 10, 9, 26
SELF_SIGNED, SELF_SIGNED_ROOT, NO_ISSUER, NO_ISSUER_LOCALLY, UNVERIFIED_LEAF = 18, 19, 2, 20, 21
REVOKED = 23
NAME_DIFFERS, ADDRESS_DIFFERS = 62, 64
"""Results of verification (X509_V_ERR_…)."""

_NOT_TRUSTED = "shows a certificate that is not trusted: no CA in the ca file has signed it"
_VERIFICATION: Mapping[int, str] = {
    EXPIRED: "shows a certificate that has expired",
    NOT_YET_VALID: "shows a certificate that is not valid yet: one of the two clocks may be wrong",
    WRONG_PURPOSE: "shows a certificate that is not meant for this end of a connection (Extended Key Usage)",
    SELF_SIGNED: "shows a self-signed certificate that is not in the ca file",
    SELF_SIGNED_ROOT: _NOT_TRUSTED,
    NO_ISSUER: _NOT_TRUSTED,
    NO_ISSUER_LOCALLY: _NOT_TRUSTED,
    UNVERIFIED_LEAF: _NOT_TRUSTED,
    REVOKED: "shows a certificate that was revoked",
    NAME_DIFFERS: (
        "shows a certificate for another name: set server_name to a name in it, or have one made for this host"
    ),
    ADDRESS_DIFFERS: (
        "shows a certificate that does not name its address: set server_name to a name in it, "
        "or have one made with this address"
    ),
}

_NO_TLS = "speaks no TLS on this port"
_OLD_TLS = "speaks no TLS of version 1.2 or 1.3"
_ASKS = "asks for a certificate of ours, and got none: give certificate and key"
_REFUSES_OURS = "does not trust our certificate: its CA has to be made known there"
_REASONS: Mapping[str, str] = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNKNOWN_PROTOCOL": _NO_TLS,
    "HTTP_REQUEST": "speaks HTTP, not DICOM over TLS",
    "UNSUPPORTED_PROTOCOL": _OLD_TLS,
    "VERSION_TOO_LOW": _OLD_TLS,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD_TLS,
    "NO_SHARED_CIPHER": "has no cipher in common with us (BCP 195)",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "has no signature algorithm in common with us (BCP 195)",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "found nothing in common with us, or asks for a certificate of ours",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "showed no certificate, and needs one",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _ASKS,
    "TLSV1_ALERT_UNKNOWN_CA": _REFUSES_OURS,
    "SSLV3_ALERT_BAD_CERTIFICATE": _REFUSES_OURS,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REFUSES_OURS,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _REFUSES_OURS,
    "TLSV1_ALERT_DECRYPT_ERROR": _REFUSES_OURS,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "refuses our certificate, which it calls expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "refuses our certificate, which was revoked",
    "TLSV1_ALERT_ACCESS_DENIED": "denies us access",
    "EE_KEY_TOO_SMALL": "shows a certificate with a key that is too short (RSA 2048 or ECDSA P-256 at least)",
}


def explain(error: OSError) -> str:
    """What went wrong while connecting over TLS, or in the handshake; completes "the peer …"."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFICATION.get(
            error.verify_code, f"shows a certificate that does not verify ({error.verify_message})"
        )
    if isinstance(error, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError):
        return "ended the connection in the TLS handshake: it speaks no TLS on this port, or refuses our certificate"
    if isinstance(error, ssl.SSLError):
        return _REASONS.get(error.reason or "", f"failed in the TLS handshake ({reason_of(error)})")
    if isinstance(error, TimeoutError):
        return "did not answer in time: it may speak no TLS on this port"
    return f"cannot be reached ({error.strerror or type(error).__name__})"


def reason_of(error: ssl.SSLError) -> str:
    """OpenSSL's name of an error, in lower case."""
    return (error.reason or type(error).__name__).lower().replace("_", " ")


def certificate_names(connection: ssl.SSLSocket) -> tuple[str, ...]:
    """DNS names, addresses and common name of the verified certificate that the peer showed; empty without one."""
    certificate: Mapping[str, object] = connection.getpeercert() or {}
    return names_in(certificate)


def names_in(certificate: Mapping[str, object]) -> tuple[str, ...]:
    """The same of a certificate as ``ssl`` decodes it."""
    alternative = certificate.get("subjectAltName", ())
    subject = certificate.get("subject", ())
    assert isinstance(alternative, tuple)  # noqa: S101 - that is how ssl decodes certificates
    assert isinstance(subject, tuple)  # noqa: S101
    names = [value for kind, value in alternative if kind == "DNS"]
    # OpenSSL writes IPv6 addresses out in full; people do not.
    names += [str(ipaddress.ip_address(value.strip())) for kind, value in alternative if kind == "IP Address"]
    names += [value for part in subject for kind, value in part if kind == "commonName"]
    return tuple(dict.fromkeys(names))
