"""The OHIF viewer in front of a DICOMweb server, as a hospital would serve it: nginx, one origin, from ``deploy/ohif``.

Owns nginx as a process and the addresses that open a study. Knows nothing of the node; the viewer itself is fetched
by ``deploy/ohif/fetch.sh`` and never changed.
"""

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from dicom_node.demonstration.orthanc import free_port
from dicom_node.errors import PeerUnavailable

DEPLOYMENT: Final = Path(__file__).parents[2] / "deploy" / "ohif"
START_TIMEOUT_S: Final = 20.0
STOP_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.1
INSTALL_NGINX: Final = "nginx is not installed: sh deploy/install-test-packages.sh (make does it)"
FETCH_VIEWER: Final = "there is no OHIF in {folder}: sh deploy/ohif/fetch.sh {folder} (make does it)"


class OhifViewer:
    """A context manager: OHIF on loopback, reading from the DICOMweb of ``orthanc_url``.

    ``folder`` takes nginx's configuration, log and temporary files; ``viewer`` holds the built viewer; port 0 is any
    free one. Raises ``PeerUnavailable`` where nginx or the viewer is missing, or nginx does not start.
    """

    def __init__(self, folder: Path, viewer: Path, *, orthanc_url: str, port: int = 0) -> None:
        # Debian keeps nginx where a person's PATH does not look.
        binary = shutil.which("nginx") or "/usr/sbin/nginx"
        if not Path(binary).exists():
            raise PeerUnavailable(INSTALL_NGINX)
        if not (viewer / "index.html").exists():
            raise PeerUnavailable(FETCH_VIEWER.format(folder=viewer))
        folder.mkdir(parents=True, exist_ok=True)
        listen = f"127.0.0.1:{port or free_port()}"
        self.url = f"http://{listen}"
        self._log = folder / "nginx.log"
        configuration = folder / "nginx.conf"
        configuration.write_text(
            _filled_in(
                (DEPLOYMENT / "nginx.conf").read_text(),
                folder=str(folder.resolve()),
                listen=listen,
                viewer=str(viewer.resolve()),
                config=str(DEPLOYMENT),
                orthanc=orthanc_url,
            )
        )
        # One process in the foreground under our own user, root or not: workers of another user could not read here.
        self._command = [
            binary,
            "-e",
            "stderr",
            "-c",
            str(configuration.resolve()),
            "-g",
            "daemon off; master_process off;",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "OhifViewer":
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)  # noqa: S603 - Debian's program
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers():
                return self
            time.sleep(POLL_S)
        self._stop()
        raise PeerUnavailable(f"nginx did not start; its log is {self._log}")

    def __exit__(self, *_: object) -> None:
        self._stop()

    def address(self, study_uid: str, series_uid: str) -> str:
        """The page that opens a study with one of its series in front."""
        return (
            f"{self.url}/viewer?{urlencode({'StudyInstanceUIDs': study_uid, 'initialSeriesInstanceUID': series_uid})}"
        )

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/app-config.js"):  # noqa: S310 - http, see the constructor
                return True
        except (urllib.error.URLError, ConnectionError):
            return False

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=STOP_TIMEOUT_S)


def _filled_in(template: str, **places: str) -> str:
    """The template with every ``@NAME@`` replaced; nginx has a use of its own for $."""
    for name, value in places.items():
        template = template.replace(f"@{name.upper()}@", value)
    return template
