"""A real Orthanc for tests: its own process, folder and free ports, with DICOMweb where the plug-in is installed."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROGRAM = "Orthanc"
PLUGINS = Path("/usr/share/orthanc/plugins")
"""Where Debian and Ubuntu put them."""
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.1


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OrthancServer:
    """A context manager. ``modalities``: name → (AE title, host, port) that it may send to.

    ``check_called_ae``: reject associations that call another AE title. ``settings``: further keys of its
    configuration. Its log is ``folder/orthanc.log``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "ORTHANC",
        dicom_port: int | None = None,
        modalities: Mapping[str, tuple[str, str, int]] | None = None,
        check_called_ae: bool = False,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.ae_title = ae_title
        self.dicom_port = free_port() if dicom_port is None else dicom_port
        self.http_port = free_port()
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        plugin = sorted(PLUGINS.glob("libOrthancDicomWeb.so*"))[:1]
        configuration: dict[str, object] = {
            "Name": ae_title, "DicomAet": ae_title, "DicomPort": self.dicom_port, "HttpPort": self.http_port,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomCheckCalledAet": check_called_ae,
            "DicomAlwaysAllowStore": True, "DicomAlwaysAllowEcho": True, "OverwriteInstances": False,
            "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "index"),
            "Plugins": [str(path) for path in plugin],
            "DicomModalities": {name: list(place) for name, place in (modalities or {}).items()},
            **(settings or {}),
        }  # fmt: skip
        self._configuration = folder / "orthanc.json"
        self._configuration.write_text(json.dumps(configuration))

    def __enter__(self) -> "OrthancServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    @property
    def http_url(self) -> str:
        """REST root; DICOMweb is at ``/dicom-web/`` below it."""
        return f"http://127.0.0.1:{self.http_port}"

    def start(self) -> None:
        """Start and wait until both ports answer."""
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, str(self._configuration)], stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.get("/system")
                socket.create_connection(("127.0.0.1", self.dicom_port), timeout=1).close()
            except OSError:
                time.sleep(POLL_S)
            else:
                return
        raise RuntimeError(f"Orthanc did not start; its log is {self.folder / 'orthanc.log'}")

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def get(self, path: str) -> Any:
        """JSON at a path of the REST API."""
        return json.loads(self._bytes(path))

    def post(self, path: str, body: object) -> Any:
        """Post JSON; the JSON answer."""
        request = urllib.request.Request(self.http_url + path, data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def instances(self, study_uid: str) -> list[dict[str, Any]]:
        """Every instance of a study: Orthanc's ID and main tags by keyword, ``Modality`` of its series included."""
        found = self.post("/tools/find", {"Level": "Study", "Query": {"StudyInstanceUID": study_uid}})
        return [
            {"ID": one["ID"], **one["MainDicomTags"], "Modality": series["MainDicomTags"].get("Modality", "")}
            for study in found
            for series in self.get(f"/studies/{study}/series")
            for one in self.get(f"/series/{series['ID']}/instances")
        ]

    def modalities_of(self, study_uid: str) -> list[str]:
        """Modality of every instance of a study."""
        return [one["Modality"] for one in self.instances(study_uid)]

    def files_of(self, study_uid: str) -> list[bytes]:
        """Part 10 file of every instance of a study."""
        return [self._bytes(f"/instances/{one['ID']}/file") for one in self.instances(study_uid)]

    def sop_instance_uids(self) -> list[str]:
        """Every instance that it holds."""
        return [one["MainDicomTags"]["SOPInstanceUID"] for one in self.get("/instances?expand")]

    def send(self, modality: str, orthanc_id: str) -> Any:
        """C-STORE a patient, study, series or instance to one of ``modalities``, as a PACS that routes."""
        return self.post(f"/modalities/{modality}/store", orthanc_id)

    def _bytes(self, path: str) -> bytes:
        with urllib.request.urlopen(self.http_url + path, timeout=60) as response:
            content: bytes = response.read()
            return content
