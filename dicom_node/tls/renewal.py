"""Looks after certificates while the node runs: takes over renewed files of ``scp.tls``, and tells what ends soon.

Associations that are open go on; the next handshake is that of the new files. Files that are not sound are told, and
the old ones stay in use: a renewal that went wrong must not close the door. Other files are read for each connection.
A context is never changed while threads shake hands with it: each connection is wrapped in the newest one instead. (One
that is exchanged within a handshake brings its CAs, but the revocation check stays that of the first.)
"""

import ssl
import threading
from datetime import timedelta
from pathlib import Path

import structlog

from dicom_node.errors import SettingsError
from dicom_node.settings import NodeSettings, ScpTlsSettings
from dicom_node.tls.contexts import server_context
from dicom_node.tls.credentials import examine_all

log = structlog.get_logger(__name__)

PERIOD_S = 60.0
"""From one look at the files to the next."""
TOLD_EVERY = timedelta(days=1)
"""What ends soon, and what cannot be used."""


class CertificateWatch:
    """One thread; ``look`` may be called by itself. ``context`` is the first of ``scp.tls``, where there is one."""

    def __init__(self, settings: NodeSettings, context: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._newest = context
        self._seen = _state(settings.scp.tls)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="certificates", daemon=True)

    def start(self) -> None:
        """Tell what is wrong or ends soon, and begin to watch."""
        self.tell()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def newest(self) -> ssl.SSLContext:
        """What the next connection is to be wrapped in; asked only where ``scp.tls`` is configured."""
        assert self._newest is not None  # noqa: S101 - the node encrypts, so it was given the first one
        return self._newest

    def tell(self) -> None:
        """What is wrong with a destination's files holds up that destination only, so it is told and no more."""
        found = examine_all(self._settings)
        for mistake in found.mistakes:
            log.error("certificate_not_usable", reason=mistake)
        for warning in found.warnings:
            log.warning("certificate_ends_soon", reason=warning)

    def look(self) -> None:
        """Take the files of ``scp.tls`` over where they have changed."""
        tls, state = self._settings.scp.tls, _state(self._settings.scp.tls)
        if tls is None or state == self._seen:
            return
        self._seen = state
        try:
            self._newest = server_context(tls)
        except SettingsError as error:
            log.error("certificate_not_usable", reason=str(error))
        else:
            log.info("certificate_renewed", file=str(tls.certificate))

    def _run(self) -> None:
        looks = 0
        while not self._stopping.wait(PERIOD_S):
            looks += 1
            try:
                self.look()
                if looks % int(TOLD_EVERY.total_seconds() / PERIOD_S) == 0:
                    self.tell()
            except Exception:
                log.exception("certificates_not_looked_at")


def _state(tls: ScpTlsSettings | None) -> tuple[tuple[int, int] | None, ...]:
    """Time and size of each file; ``None`` for one that cannot be looked at."""
    files: tuple[Path | None, ...] = () if tls is None else (tls.certificate, tls.key, tls.ca)
    return tuple(map(_stamp, files))


def _stamp(path: Path | None) -> tuple[int, int] | None:
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size)
