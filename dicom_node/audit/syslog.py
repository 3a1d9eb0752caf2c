"""The trail over syslog TLS: RFC 5424 messages in RFC 5425 frames, as PS3.15 A.6 asks for."""

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


class Syslog:
    """Implements ``Sink``. Connects with the first message, and again after every failure."""

    name = "syslog"
    batch = 1

    def __init__(self, settings: SyslogSettings) -> None:
        self._settings = settings
        self._host = socket.gethostname()
        self._connection: ssl.SSLSocket | None = None

    def write(self, messages: Sequence[bytes]) -> None:
        """Send. Raises ``PeerUnavailable``."""
        try:
            connection = self._connected()
            for message in messages:
                connection.sendall(self._framed(message))
        except OSError as error:
            self.close()
            raise PeerUnavailable(
                f"the audit record repository {self._settings.host}:{self._settings.port} {explain(error)}"
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
        if self._connection is not None and _has_ended(self._connection):
            self.close()
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> ssl.SSLSocket:
        tls = self._settings.tls
        try:
            context = client_context(tls, where="audit.syslog.tls")
        except SettingsError as error:
            raise PeerUnavailable("; ".join(error.mistakes)) from error
        plain = socket.create_connection((self._settings.host, self._settings.port), timeout=TIMEOUT_S)
        try:
            return context.wrap_socket(plain, server_hostname=tls.server_name or self._settings.host)
        except OSError:
            plain.close()
            raise


def _has_ended(connection: ssl.SSLSocket) -> bool:
    """Whether the other end has said goodbye: it never says anything else, and writing would not notice at once."""
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except ssl.SSLWantReadError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(TIMEOUT_S)
