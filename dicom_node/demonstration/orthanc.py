"""A real Orthanc as a process of its own: Debian's package, on free loopback ports, with storage of its own.

For the viewer and the tests. Owns starting, asking over REST, killing and stopping it; knows nothing of the node.
"""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dicom_node.errors import PeerUnavailable

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.1
INSTALL: Final = "Orthanc is not installed: sh deploy/install-test-packages.sh (make does it)"
DICOMWEB_PLUGIN: Final = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
"""Where Debian and Ubuntu put it; goes into ``settings`` as one of "Plugins"."""
PYTHON_PLUGIN: Final = "/usr/share/orthanc/plugins/libOrthancPython.so"
"""Likewise."""


def free_port() -> int:
    """A TCP port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OrthancServer:
    """A context manager. AE title ORTHANC; ``settings`` lie over the defaults.

    Raises ``PeerUnavailable`` where it is not installed or does not start; its log says why.
    """

    def __init__(self, folder: Path, *, dicom_port: int | None = None, settings: dict[str, Any] | None = None) -> None:
        binary = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
        if not Path(binary).exists():
            raise PeerUnavailable(INSTALL)
        for plugin in (settings or {}).get("Plugins", []):
            if not Path(plugin).exists():
                raise PeerUnavailable(f"{INSTALL}; {plugin} is missing")
        folder.mkdir(parents=True, exist_ok=True)
        self.dicom_port = dicom_port or free_port()
        self._http_port = free_port()
        self._log = folder / "orthanc.log"
        configuration = {
            "Name": "test", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
            "DicomAet": "ORTHANC", "DicomPort": self.dicom_port, "HttpPort": self._http_port,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": True, "Plugins": [], **(settings or {}),
        }  # fmt: skip
        self._configuration = folder / "orthanc.json"
        self._configuration.write_text(json.dumps(configuration))
        self._command = [binary, str(self._configuration)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "OrthancServer":
        self.start()
        return self

    def start(self) -> None:
        """Start and wait until it serves; again after ``kill``, on the same ports and with the same storage."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)  # noqa: S603 - Debian's program
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                self.get("/system")
                return
            except (urllib.error.URLError, ConnectionError):
                if self._process.poll() is not None:
                    break
                time.sleep(POLL_S)
        self._stop()
        raise PeerUnavailable(f"Orthanc did not start; its log is {self._log}")

    def __exit__(self, *_: object) -> None:
        self._stop()

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None  # noqa: S101 - started
        self._process.kill()
        self._process.wait()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=STOP_TIMEOUT_S)

    @property
    def process_id(self) -> int:
        """Of the running server."""
        assert self._process is not None  # noqa: S101 - started
        return self._process.pid

    @property
    def http_url(self) -> str:
        """Base of the REST API."""
        return f"http://127.0.0.1:{self._http_port}"

    def get(self, path: str) -> Any:
        """JSON at a path of the REST API."""
        return json.loads(self._answer(path))

    def instances_of(self, study_uid: str) -> list[str]:
        """Orthanc's identifiers of the instances of a study."""
        return [
            instance["ID"]
            for study in self._studies(study_uid)
            for instance in self.get(f"/studies/{study}/instances")
        ]  # fmt: skip

    def modalities_of(self, study_uid: str) -> list[str]:
        """Modality of every instance of a study."""
        return [
            self.get(f"/instances/{instance}/simplified-tags")["Modality"] for instance in self.instances_of(study_uid)
        ]

    def metadata_of(self, study_uid: str) -> dict[str, str]:
        """Metadata of a study by name; empty while there is no such study."""
        found: dict[str, str] = {}
        for study in self._studies(study_uid):
            found.update(self.get(f"/studies/{study}/metadata?expand"))
        return found

    def files_of(self, study_uid: str) -> Iterator[bytes]:
        """Part 10 file of every instance of a study."""
        for instance in self.instances_of(study_uid):
            yield self._answer(f"/instances/{instance}/file")

    def _studies(self, study_uid: str) -> list[str]:
        found = json.loads(self._answer("/tools/lookup", body=study_uid.encode()))
        return [one["ID"] for one in found if one["Type"] == "Study"]

    def _answer(self, path: str, body: bytes | None = None) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._http_port}{path}", data=body) as response:
            content: bytes = response.read()
            return content
