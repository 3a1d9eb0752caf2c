"""``our_server`` as a process that is killed and started again."""

import subprocess
import sys
from pathlib import Path

from dicom_node.demonstration.orthanc import free_port

REPOSITORY = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "benchmarks.receiving.our_server")


class OurProcess:
    """A context manager. On one port and one folder, started again after every kill; ``before`` the command: strace."""

    def __init__(self, folder: Path, *before: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._command = [*before, *PROGRAM, str(folder), str(self.port)]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "OurProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(kill=False)

    def start(self) -> None:
        """Start, and wait until it serves."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{self.port}\n"

    def end(self, *, kill: bool) -> None:
        """Kill -9, or the regular end."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if kill:
            self._process.kill()
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()
