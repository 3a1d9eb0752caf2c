"""The trail over syslog TLS: RFC 5424 messages in RFC 5425 frames, as PS3.15 A.6 asks for.

A repository confirms nothing. What it says of itself is a goodbye, or an alert that refuses us: in TLS 1.3 that comes
after our end of the handshake (RFC 8446 section 4.4.4), so it is waited for, and looked for before every message.
"""

import os
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime

from dicom_node.errors import PeerUnavailable, SettingsError
from dicom_node.settings import SyslogSettings
from dicom_node.tls import client_context, explain

PRIORITY = 10 * 8 + 5
"""Facility 10 (security and authorisation), severity 5 (normal but significant): PS3.15 A.6."""
MESSAGE_ID = "DICOM+RFC3881"
"""MSGID (PS3.15 A.6)."""
APPLICATION = "dicom-node"
BOM = "\ufeff".encode()
"""Says that the message is UTF-8 (RFC 5424 section 6.4)."""
TIMEOUT_S = 10.0
"""For connecting, and for the repository to take a message."""
REFUSAL_S = 1.0
"""After a TLS 1.3 handshake, for the repository to refuse our certificate; silence means that it does not."""


class Syslog:
    """Implements ``Sink``. Connects with the first message, and again after every failure."""

    name = "syslog"
    batch = 1

    def __init__(self, settings: SyslogSettings) -> None:
        self._settings = settings
        self._host = socket.gethostname()
        self._connection: ssl.SSLSocket | None = None
        self._sent = 0
        self.lost = 0

    def write(self, messages: Sequence[bytes]) -> None:
        """Send. Raises ``PeerUnavailable``."""
        try:
            connection = self._connected()
            for message in messages:
                connection.sendall(self._framed(message))
                self._sent += 1
        except (OSError, ValueError) as error:
            self.close()
            why = explain(error) if isinstance(error, OSError) else "cannot be looked up: correct host or server_name"
            raise PeerUnavailable(
                f"the audit record repository {self._settings.host}:{self._settings.port} {why}"
            ) from error

    def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _framed(self, message: bytes) -> bytes:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        head = f"<{PRIORITY}>1 {at} {self._host} {APPLICATION} {os.getpid()} {MESSAGE_ID} - "
        line = head.encode() + BOM + message
        return f"{len(line)} ".encode() + line

    def _connected(self) -> ssl.SSLSocket:
        """The connection, a new one where the repository has ended the last."""
        if self._connection is not None and self._has_ended(self._connection):
            self.close()
        if self._connection is None:
            self._connection = self._connect()
            self._sent = 0
        return self._connection

    def _connect(self) -> ssl.SSLSocket:
        tls = self._settings.tls
        try:
            context = client_context(tls, where="audit.syslog.tls")
        except SettingsError as error:
            raise PeerUnavailable("; ".join(error.mistakes)) from error
        plain = socket.create_connection((self._settings.host, self._settings.port), timeout=TIMEOUT_S)
        try:
            connection = context.wrap_socket(plain, server_hostname=tls.server_name or self._settings.host)
        except (OSError, ValueError):
            plain.close()
            raise
        try:
            _await_refusal(connection)
        except OSError:
            connection.close()
            raise
        return connection

    def _has_ended(self, connection: ssl.SSLSocket) -> bool:
        """Whether the other end has said goodbye, which writing would not notice at once.

        Raises ``SSLError`` where it says that it refuses us: then it has kept nothing of this connection.
        """
        connection.settimeout(0)
        try:
            return connection.recv(1) == b""
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            self.lost += self._sent
            self._sent = 0
            raise
        except OSError:
            return True
        finally:
            connection.settimeout(TIMEOUT_S)


def _await_refusal(connection: ssl.SSLSocket) -> None:
    """Raises ``SSLError`` where the repository ends a connection that it has just accepted."""
    if connection.version() != "TLSv1.3":
        return
    connection.settimeout(REFUSAL_S)
    try:
        if connection.recv(1) == b"":
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "ended after the handshake")
    except TimeoutError:
        pass  # nothing to say: it takes us
    finally:
        connection.settimeout(TIMEOUT_S)
