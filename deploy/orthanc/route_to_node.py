"""Orthanc's "PythonScript": routes CT studies to dicom-node. What it does and how to set it up: README.md.

Owns the meeting with Orthanc: its API, its callbacks, and the one thread that everything happens in. The callback
itself only wakes that thread, because Orthanc waits for it. A mistake in the configuration stops Orthanc from
starting; anything later is logged and tried again.
"""

from __future__ import annotations

import json
import threading
from typing import Final

import orthanc
from node_routing.archive import Archive, ArchiveFailure, NotThere
from node_routing.router import Router
from node_routing.settings import RoutingSettings, read_settings

GLOBAL_PROPERTY: Final = 5200
"""Where the ledger is kept in Orthanc's database. Plugins choose from 1024 on; nothing registers them."""
UNKNOWN_RESOURCE, INEXISTENT_ITEM = 17, 7
"""OrthancPluginErrorCode."""
WORRYING: Final = frozenset({"study_not_sent", "study_put_off", "node_does_not_answer"})
STOP_TIMEOUT_S: Final = 30.0
SENDING_POLL_S: Final = 1.0
"""How often a transfer is asked whether it has ended."""


class OrthancApi:
    """``node_routing.archive.Orthanc`` on the plugin's API; its exceptions are translated here."""

    def get(self, path: str) -> bytes:
        """GET."""
        try:
            return orthanc.RestApiGet(path)
        except orthanc.OrthancException as error:
            raise _translated(error, path) from error

    def post(self, path: str, body: str) -> bytes:
        """POST."""
        try:
            return orthanc.RestApiPost(path, body)
        except orthanc.OrthancException as error:
            raise _translated(error, path) from error

    def put(self, path: str, body: str) -> None:
        """PUT."""
        try:
            orthanc.RestApiPut(path, body)
        except orthanc.OrthancException as error:
            raise _translated(error, path) from error

    def read_property(self) -> str:
        """The ledger; empty at the very first start."""
        return orthanc.GetGlobalProperty(GLOBAL_PROPERTY, "")

    def write_property(self, value: str) -> None:
        """Into the database."""
        orthanc.SetGlobalProperty(GLOBAL_PROPERTY, value)

    def log(self, event: str, **values: object) -> None:
        """One JSON object a line; identifiers and counts, nothing of the patient."""
        line = "dicom-node routing: " + json.dumps({"event": event, **values})
        (orthanc.LogWarning if event in WORRYING else orthanc.LogInfo)(line)


def _translated(error: orthanc.OrthancException, path: str) -> ArchiveFailure:
    code, description = error.args
    kind = NotThere if code in (UNKNOWN_RESOURCE, INEXISTENT_ITEM) else ArchiveFailure
    return kind(f"{path}: {description}")


class Worker:
    """The thread."""

    def __init__(self, settings: RoutingSettings) -> None:
        self._settings = settings
        self._api = OrthancApi()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dicom-node routing", daemon=True)

    def on_change(self, change: int, level: int, resource: str) -> None:
        """For ``orthanc.RegisterOnChangeCallback``."""
        if change == orthanc.ChangeType.ORTHANC_STARTED:
            self._thread.start()
        elif change == orthanc.ChangeType.STABLE_STUDY:
            self._wake.set()
        elif change == orthanc.ChangeType.ORTHANC_STOPPED:
            self._stopping = True
            self._wake.set()
            if self._thread.is_alive():
                self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        router: Router | None = None
        while not self._stopping:
            try:
                router = router or self._router()
                router.step()
            except Exception as error:  # noqa: BLE001 - the boundary of the job: recorded, and done again
                orthanc.LogError(f"dicom-node routing: {type(error).__name__}: {error}")
            sending = router is not None and router.is_sending
            self._wake.wait(min(SENDING_POLL_S, self._settings.poll_s) if sending else self._settings.poll_s)
            self._wake.clear()

    def _router(self) -> Router:
        archive = Archive(self._api, modality=self._settings.modality, manufacturer=self._settings.manufacturer)
        return Router(archive, self._settings, self._api.log)


orthanc.RegisterOnChangeCallback(Worker(read_settings(json.loads(orthanc.GetConfiguration()))).on_change)
