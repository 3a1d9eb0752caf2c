"""A real Orthanc as a process: Debian's package, with DICOM and REST on free loopback ports and storage of its own."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 60.0
INSTALL = "Orthanc is not installed: sh deploy/install-test-packages.sh (make test does it)"


def free_port() -> int:
    """A TCP port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OrthancServer:
    """Context manager. AE title ORTHANC; ``settings`` lie over the defaults."""

    def __init__(self, folder: Path, *, dicom_port: int | None = None, settings: dict[str, Any] | None = None) -> None:
        binary = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
        assert Path(binary).exists(), INSTALL
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
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                self.get("/system")
                return self
            except (urllib.error.URLError, ConnectionError):
                assert self._process.poll() is None, self._log.read_text()
                time.sleep(0.1)
        raise AssertionError(f"Orthanc did not start: {self._log.read_text()}")

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=30)

    @property
    def http_url(self) -> str:
        """Base of the REST API."""
        return f"http://127.0.0.1:{self._http_port}"

    def get(self, path: str) -> Any:
        """JSON at a path of the REST API."""
        with urllib.request.urlopen(self.http_url + path) as response:
            return json.load(response)

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

    def files_of(self, study_uid: str) -> Iterator[bytes]:
        """Part 10 file of every instance of a study."""
        for instance in self.instances_of(study_uid):
            with urllib.request.urlopen(f"{self.http_url}/instances/{instance}/file") as response:
                yield response.read()

    def _studies(self, study_uid: str) -> list[str]:
        request = urllib.request.Request(f"{self.http_url}/tools/lookup", data=study_uid.encode(), method="POST")
        with urllib.request.urlopen(request) as response:
            return [found["ID"] for found in json.load(response) if found["Type"] == "Study"]
