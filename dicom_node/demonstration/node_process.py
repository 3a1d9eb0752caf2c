"""A real node as a process of its own, as an operator would start it: for the demo, the benchmarks and the tests.

Owns starting, asking over HTTP, killing and stopping it. Knows nothing of what runs inside.
"""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dicom_node.errors import PeerUnavailable

POLL_S = 0.1
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
Answer = Any
"""JSON: an object, or a list."""


class NodeProcess:
    """``dicom-node serve`` on loopback with free ports; its log goes to ``data_dir/../<name>.log``, appended.

    A context manager: the node is stopped at the end of the block. ``arguments`` are further flags of ``serve``;
    ``module`` is what Python runs in place of the command.
    """

    def __init__(
        self, data_dir: Path, arguments: Sequence[str] = (), *, port: int = 0, module: str = "dicom_node"
    ) -> None:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        self.data_dir = data_dir
        self.log = data_dir.with_suffix(".log")
        self._arguments = tuple(arguments)
        self._module = module
        self.dicom_port = port
        self.web_port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "NodeProcess":
        if self._process is None or self._process.poll() is not None:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it serves. A restart keeps the DICOM port, as a sender's configuration would.

        Raises ``PeerUnavailable`` where it does not come up; its log says why.
        """
        offset = self.log.stat().st_size if self.log.exists() else 0
        command = [
            sys.executable, "-m", self._module, "serve", "--data-dir", str(self.data_dir), "--bind", "127.0.0.1",
            "--port", str(self.dicom_port), "--web-port", "0", *self._arguments,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, stdout=log)  # noqa: S603 - our own program
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            started = self._event("node_started", offset)
            if started is not None:
                self.dicom_port, self.web_port = int(started["dicom_port"]), int(started["web_port"])
                return
            time.sleep(POLL_S)
        raise PeerUnavailable(f"the node did not start; its log is {self.log}")

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None  # noqa: S101 - started
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM, then its exit status."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=STOP_TIMEOUT_S)

    def get(self, path: str) -> Answer | None:
        """JSON at a path of the web port; ``None`` while there is none (404, 503, not listening)."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}{path}") as response:
                answer: Answer = json.load(response)
                return answer
        except (urllib.error.URLError, ConnectionError):
            return None

    def wait_for(self, path: str, satisfied: Callable[[Answer], bool], *, timeout_s: float) -> Answer:
        """Ask until the answer satisfies. Raises ``PeerUnavailable`` after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        answer = None
        while time.monotonic() < deadline:
            answer = self.get(path)
            if answer is not None and satisfied(answer):
                return answer
            time.sleep(POLL_S)
        state = None if answer is None else answer.get("state", answer)
        raise PeerUnavailable(f"{path} did not get there in {timeout_s:.0f} s; last: {state}; log: {self.log}")

    def wait_until_settled(self, study_uid: str, *, timeout_s: float) -> Answer:
        """The study, when all its results are delivered or it has failed."""
        return self.wait_for(
            f"/api/studies/{study_uid}", lambda study: study["state"] in ("done", "failed"), timeout_s=timeout_s
        )

    def _event(self, name: str, offset: int) -> Answer | None:
        with self.log.open("rb") as log:
            log.seek(offset)
            for line in log:
                if line.startswith(b"{") and line.endswith(b"\n"):
                    event: Answer = json.loads(line)
                    if event.get("event") == name:
                        return event
        return None
