"""Contexts of the BCP 195 TLS profile (PS3.15 B.12, RFC 9325), for both ends of a connection.

TLS 1.3 is taken where the peer has it, TLS 1.2 else, nothing older. No compression, no renegotiation, no resumption:
an association lasts longer than a handshake costs, and every one of them shows its certificates anew.
"""

import ssl

from dicom_node.errors import SettingsError
from dicom_node.settings import PeerTlsSettings, ScpTlsSettings
from dicom_node.tls.credentials import Credentials, examine

CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
    )
)
"""What RFC 9325 section 4.2 recommends for TLS 1.2: ephemeral keys, AES-GCM. TLS 1.3 has a list of its own."""


def server_context(settings: ScpTlsSettings, *, where: str = "scp.tls") -> ssl.SSLContext:
    """What accepts connections. With ``ca``, a peer without a certificate of it does not get past the handshake.

    Raises ``SettingsError`` with every mistake in the files, each beginning with ``where``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    context.num_tickets = 0
    _load(context, Credentials.of_server(settings), where)
    context.verify_mode = ssl.CERT_NONE if settings.ca is None else ssl.CERT_REQUIRED
    return context


def client_context(settings: PeerTlsSettings, *, where: str) -> ssl.SSLContext:
    """What connects to a peer, whose certificate is always verified. Raises ``SettingsError``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context)
    context.check_hostname = settings.check_name
    _load(context, Credentials.of_client(settings), where)
    if settings.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= (
        ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    )
    # A peer's own certificate in the CA file is trusted as it stands: archives often have self-signed ones.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _load(context: ssl.SSLContext, credentials: Credentials, where: str) -> None:
    mistakes = examine(credentials, where=where).mistakes
    if mistakes:
        raise SettingsError(mistakes)
    if credentials.certificate is not None:
        context.load_cert_chain(credentials.certificate, credentials.key, password=_no_passphrase)
    if credentials.ca is not None:
        context.load_verify_locations(cafile=credentials.ca)
        if context.cert_store_stats()["crl"]:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF  # the file brings a revocation list


def _no_passphrase() -> str:
    """Never ask the terminal: an encrypted key is a mistake that ``examine`` has told."""
    return ""
