"""TLS of one association towards a destination, and why it failed, which pynetdicom tells its log alone.

Made anew for each association, so that a renewed certificate is used from the next attempt on.
"""

import ssl
from typing import Any

from dicom_node.errors import PeerUnavailable, SettingsError
from dicom_node.settings import PeerTlsSettings
from dicom_node.tls import client_context, explain


class Encryption:
    """What pynetdicom needs to connect over TLS (PS3.15 B.12); ``why_not`` says how that ended.

    Raises ``PeerUnavailable`` where our own files cannot be used: an operator mends them, and the objects can go.
    """

    def __init__(self, settings: PeerTlsSettings, *, host: str, destination: str) -> None:
        try:
            self._context = client_context(settings, where=f"{destination}.tls")
        except SettingsError as error:
            raise PeerUnavailable("cannot be reached over TLS: " + "; ".join(error.mistakes)) from error
        self._server_name = settings.server_name or host
        self._failure: OSError | None = None
        self._connection: ssl.SSLSocket | None = None
        self._context.sslsocket_class = self._witness()

    @property
    def tls_args(self) -> tuple[ssl.SSLContext, str]:
        """As ``AE.associate`` takes it."""
        return self._context, self._server_name

    @property
    def why_not(self) -> str | None:
        """Why connecting or the handshake failed, as "the peer …"; ``None`` where neither did."""
        return None if self._failure is None else explain(self._failure)

    def close(self) -> None:
        """Close the connection, which pynetdicom leaves to the garbage collector where it was refused or broke off."""
        if self._connection is not None:
            self._connection.close()

    def _witness(self) -> type[ssl.SSLSocket]:
        """A socket that notes its failure. In TLS 1.3 a refusal of our certificate comes after the handshake."""
        encryption = self

        class Witness(ssl.SSLSocket):
            def connect(self, address: Any) -> None:
                encryption._connection = self
                try:
                    super().connect(address)
                except OSError as error:
                    encryption._failure = error
                    raise

            def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
                try:
                    return super().recv(buflen, flags)
                except ssl.SSLError as error:
                    encryption._failure = error
                    raise

        return Witness
