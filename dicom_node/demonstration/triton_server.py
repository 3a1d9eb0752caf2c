"""A real Triton server as a process of its own, on the CPU: for ``make triton``, the demo, benchmarks and tests.

Owns starting, killing and stopping it. Knows nothing of the models beyond their repository; who talks to it is
``inference.engines.triton``. ``deploy/triton/build.sh`` builds what it runs.
"""

import os
import shutil
import signal
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from dicom_node.demonstration.orthanc import free_port
from dicom_node.errors import PeerUnavailable
from dicom_node.settings import REPOSITORY_ROOT

DEFAULT_ENVIRONMENT: Final = REPOSITORY_ROOT / ".triton"
"""Where ``make`` puts the server."""
MODELS: Final = REPOSITORY_ROOT / "triton_models"
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where the kernel keeps it
START_TIMEOUT_S: Final = 180.0
"""Models are compiled and tried first; on a busy machine that takes half a minute each."""
STOP_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.1
GRPC_PORT: Final = 8001
"""Triton's own default."""
LOOPBACK: Final = "127.0.0.1"


class TritonServer:
    """``tritonserver`` on ``repository`` with loopback ports; its log goes to ``folder``, appended. A context manager.

    ``may_load``: whether clients may have models loaded anew. ``options`` are further flags. Ports stay the same over a
    restart. Raises ``PeerUnavailable`` where it is not built.
    """

    def __init__(
        self,
        folder: Path,
        repository: Path = MODELS,
        *,
        environment: Path = DEFAULT_ENVIRONMENT,
        grpc_port: int = 0,
        may_load: bool = True,
        options: Sequence[str] = (),
    ) -> None:
        if not (environment / ".built").exists():
            raise PeerUnavailable(f"there is no Triton server in {environment}: make triton builds it")
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "triton.log"
        self.grpc_port = grpc_port or free_port()
        self._http_port, self._metrics_port = free_port(), free_port()
        self._environment = environment.resolve()
        # Regions of its own, so that those which a killed server leaves behind can be told from others' and removed.
        self._region = f"dicom-node-triton-{uuid.uuid4().hex[:12]}-"
        self._command = [
            str(self._environment / "tritonserver"), "--model-repository", str(repository.resolve()),
            "--backend-directory", str(self._environment / "backends"), "--model-config-name=cpu",
            *(("--model-control-mode=explicit", "--load-model=*") if may_load else ()),
            "--grpc-address", LOOPBACK, "--http-address", LOOPBACK,
            "--grpc-port", str(self.grpc_port), "--http-port", str(self._http_port),
            "--metrics-address", LOOPBACK, "--metrics-port", str(self._metrics_port),
            "--exit-timeout-secs=5", f"--backend-config=python,shm-region-prefix-name={self._region}", *options,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Of its gRPC service, as ``--engine triton=`` takes it."""
        return f"{LOOPBACK}:{self.grpc_port}"

    @property
    def metrics_address(self) -> str:
        """HOST:PORT of ``/metrics`` for Prometheus."""
        return f"{LOOPBACK}:{self._metrics_port}"

    def __enter__(self) -> "TritonServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until every model is ready. Raises ``PeerUnavailable``; its log says why."""
        python = self._environment / "venv" / "bin"
        surroundings = {
            **os.environ,
            "PATH": f"{python}{os.pathsep}{os.environ['PATH']}",
            "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),  # where this interpreter's libpython is
        }
        surroundings.pop("PYTHONPATH", None)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - built by our own script
                self._command, stdout=log, stderr=log, env=surroundings, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._ready():
                return
            time.sleep(POLL_S)
        self.kill()
        raise PeerUnavailable(f"Triton did not start; its log is {self.log}")

    def wait(self) -> int:
        """Until it ends by itself; its exit status."""
        assert self._process is not None  # noqa: S101 - started
        return self._process.wait()

    def kill(self) -> None:
        """Kill -9, its backends with it, as the kernel's memory killer or a power cut would."""
        assert self._process is not None  # noqa: S101 - started
        with suppress(ProcessLookupError):  # nothing of it is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._sweep()

    def kill_backend(self, model: str) -> None:
        """Kill -9 of the process that runs a model, while the server lives on."""
        assert self._process is not None  # noqa: S101 - started
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_text().split("\0")
                session = os.getsid(int(folder.name))
            except (OSError, UnicodeDecodeError):
                continue  # ended meanwhile
            if session == self._process.pid and any(f"/{model}/" in part for part in command) and "stub" in command[0]:
                os.kill(int(folder.name), signal.SIGKILL)

    def pause(self) -> None:
        """Stop it without ending it: its ports stay open and nothing answers."""
        assert self._process is not None  # noqa: S101 - started
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after ``pause``."""
        assert self._process is not None  # noqa: S101 - started
        os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM; what has not ended after ``STOP_TIMEOUT_S`` is killed."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._sweep()

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self._http_port}/v2/health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _sweep(self) -> None:
        for left in SHARED_MEMORY.glob(f"{self._region}*"):
            left.unlink(missing_ok=True)


@click.command()
@click.option("--port", default=GRPC_PORT, show_default=True, help="gRPC, on this machine only.")
@click.option("--repository", type=click.Path(path_type=Path, exists=True, file_okay=False), default=MODELS)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_ENVIRONMENT / "run")
def serve(port: int, repository: Path, out: Path) -> None:
    """Run Triton with the shipped models until interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: it is ended in order
    shutil.rmtree(out, ignore_errors=True)
    click.echo("Triton loads the models …")
    try:
        with TritonServer(out, repository, grpc_port=port) as server:
            click.echo(f"ready: dicom-node serve --engine triton={server.address}\nlog: {server.log}; Ctrl-C ends it")
            raise click.ClickException(f"Triton ended with status {server.wait()}; its log is {server.log}")
    except KeyboardInterrupt:
        pass
    except PeerUnavailable as unavailable:
        raise click.ClickException(str(unavailable)) from unavailable


if __name__ == "__main__":
    serve()
