"""One Triton server as its client sees it: calls with deadlines, whether it is worth asking, and how it is mended.

The only importer of tritonclient (gRPC alone; the HTTP client needs gevent). Its exceptions become ``CallFailed`` here,
with the server's paths and tracebacks taken out. Knows one address; who picks between several is ``triton.py``.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from inference.engines.base import EngineError, EngineUnavailable, empty_rows
from inference.engines.triton_config import differences
from inference.model import ModelSpec, Tensors

FAILURES_TO_REST = 3
"""Failures in a row after which a server is left alone for a while."""
REST_S = 5.0
PROBE_TIMEOUT_S = 2.0
"""For questions that a healthy server answers at once."""
LOAD_TIMEOUT_S = 120.0
"""For loading a model anew: compiling on a busy machine takes half a minute."""
NOT_READY = "unknown model"
"""In what a living server says, as UNAVAILABLE, of a model that it failed to load."""
LONGEST_MESSAGE = 300
"""Characters of a server's message that go on into reasons."""
CHANNEL = (
    # gRPC's own limit on what it receives is 4 MB; 2 GiB is as far as its length goes.
    ("grpc.max_send_message_length", triton_grpc.MAX_GRPC_MESSAGE_SIZE),
    ("grpc.max_receive_message_length", triton_grpc.MAX_GRPC_MESSAGE_SIZE),
    # By default gRPC leaves a server that was away alone for up to two minutes after it is back.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # Channels of one process to one address share connections, and with them the back-off, unless told not to.
    ("grpc.use_local_subchannel_pool", 1),
)


class CallFailed(Exception):
    """A call that the server, or the way to it, answered with an error. ``status``: gRPC's, e.g. "UNAVAILABLE"."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def queue_is_full(self) -> bool:
        """Whether a living server has more to do than it queues."""
        return self.status == "UNAVAILABLE" and "queue size" in str(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How to talk to a server that wants encryption."""

    ca: Path | None = None
    """Certificates that the server's is signed by (PEM); ``None``: those of the system."""
    certificate: Path | None = None
    """Our own, where the server asks for one (PEM), with its ``key``."""
    key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Requests that a server computed, of all its clients, and what their time went into."""

    requests: int
    queue_s: float
    compute_s: float


Done = Callable[["Tensors | CallFailed"], None]
Cancel = Callable[[], object]


class TritonPeer:
    """A server at ``address`` (HOST:PORT). Thread-safe.

    Raises ``EngineError`` where a file of ``tls`` cannot be read.
    """

    def __init__(self, address: str, *, tls: Tls | None, call_timeout_s: float) -> None:
        self.address = address
        self.in_flight = 0
        """Requests that it has not answered; its user counts them."""
        self._call_timeout_s = call_timeout_s
        self._lock = threading.Lock()
        self._mending = threading.Lock()
        self._failures = 0
        self._rest_until = 0.0
        self.last_failure = ""
        """Why it was last left alone, in words."""
        self._client = _connected(address, tls)

    def worth_asking(self) -> bool:
        """Whether it has not failed several times in a row just now."""
        return time.monotonic() >= self._rest_until

    def note_failure(self, failure: CallFailed) -> None:
        """Count a failure to answer; after several in a row it is left alone for ``REST_S``."""
        with self._lock:
            self._failures += 1
            self.last_failure = f"{self.address}: {failure}"
            if self._failures >= FAILURES_TO_REST:
                self._rest_until = time.monotonic() + REST_S

    def note_answer(self) -> None:
        """Forget failures: it answers."""
        with self._lock:
            self._failures = 0
            self._rest_until = 0.0

    def ask_whether_live(self) -> None:
        """Raises ``CallFailed``."""
        if not self._call("is_server_live", client_timeout=PROBE_TIMEOUT_S):
            raise CallFailed("UNAVAILABLE", "the server says that it is not live")

    def check(self, spec: ModelSpec, *, sha256: str) -> None:
        """Whether it serves this model in this version, from these weights.

        Raises ``CallFailed`` where it does not answer, ``EngineUnavailable`` where it serves something else.
        """
        try:
            answer = self._configuration(spec)
        except CallFailed as failure:
            if failure.status not in ("NOT_FOUND", "INVALID_ARGUMENT") and NOT_READY not in str(failure):
                raise
            answer = self._configuration_after_loading(spec, failure)
        wrong = differences(spec, answer["config"], sha256=sha256)
        if wrong:
            raise EngineUnavailable(
                f"model {spec.name}: the Triton server {self.address} serves another model: {'; '.join(wrong)}. "
                "Give it this version's model repository"
            )

    def _configuration(self, spec: ModelSpec) -> Any:
        return self._call("get_model_config", spec.name, spec.version, as_json=True, client_timeout=PROBE_TIMEOUT_S)

    def _configuration_after_loading(self, spec: ModelSpec, failure: CallFailed) -> Any:
        """Of a model that is not there: a load that failed once (see ``mend``) must not keep it away for good.

        Raises ``EngineUnavailable`` where the server cannot load it, or does not load at a client's word.
        """
        why_not = self._why_not(spec.name)
        with self._mending, suppress(CallFailed):
            self._call("load_model", spec.name, client_timeout=LOAD_TIMEOUT_S)
            return self._configuration(spec)
        raise EngineUnavailable(
            f"model {spec.name}: the Triton server {self.address} does not serve version {spec.version} "
            f"({why_not or failure}). Give it this version's model repository"
        ) from failure

    def platform(self, spec: ModelSpec) -> str:
        """What runs the model there: "tensorrt_plan", or the name of a backend. Raises ``CallFailed``."""
        config = self._configuration(spec)["config"]
        return str(config.get("platform") or config.get("backend", ""))

    def counted(self, spec: ModelSpec) -> "Counted":
        """What the server has counted of a model since it loaded it. Raises ``CallFailed``."""
        answer = self._call("get_inference_statistics", spec.name, spec.version, client_timeout=PROBE_TIMEOUT_S)
        if not answer.model_stats:
            raise CallFailed("NOT_FOUND", f"no statistics of {spec.name}")
        stats = answer.model_stats[0].inference_stats
        compute = (stats.compute_input, stats.compute_infer, stats.compute_output)
        return Counted(
            requests=stats.queue.count, queue_s=stats.queue.ns / 1e9, compute_s=sum(one.ns for one in compute) / 1e9
        )

    def start(self, spec: ModelSpec, inputs: Tensors, *, request_id: str, done: Done) -> Cancel:
        """Send one request; ``done`` gets the outputs or the failure, on another thread. Returns what cancels it."""

        def answered(result: Any, error: InferenceServerException | None) -> None:
            if error is not None:
                done(_failure(error))
                return
            try:
                outputs = {one.name: result.as_numpy(one.name) for one in spec.outputs}
            except (ValueError, TypeError, KeyError, AttributeError) as failure:
                # Fewer bytes than the stated shape, or a type that there is not. This is gRPC's thread: whoever waits
                # must be told here, or nobody ever is.
                done(CallFailed("INTERNAL", f"an answer that cannot be read ({type(failure).__name__})"))
                return
            done(outputs)

        try:
            context = self._client.async_infer(
                spec.name,
                _wire_inputs(inputs),
                callback=answered,
                model_version=spec.version,
                outputs=[triton_grpc.InferRequestedOutput(one.name) for one in spec.outputs],
                request_id=request_id,
                client_timeout=self._call_timeout_s,  # seconds; the server's, for its queue, is in microseconds
                timeout=int(self._call_timeout_s * 1e6),
            )
        except InferenceServerException as error:
            raise _failure(error) from error
        cancel: Cancel = context.cancel
        return cancel

    def mend(self, spec: ModelSpec) -> bool:
        """After a failed inference: whether the model runs at all; one that does not is loaded anew.

        A backend process that died leaves its model READY and failing (Triton 2.51). Returns whether it had to be
        loaded. Raises ``EngineUnavailable`` where it stays dead, ``CallFailed`` where the server does not answer.
        """
        with self._mending:
            try:
                self._canary(spec)
                return False
            except CallFailed as failure:
                if failure.status in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                    raise
            try:
                self._call("unload_model", spec.name, client_timeout=LOAD_TIMEOUT_S)
                self._call("load_model", spec.name, client_timeout=LOAD_TIMEOUT_S)
                self._canary(spec)
            except CallFailed as failure:
                if failure.status == "UNAVAILABLE" and "not allowed" not in str(failure):
                    raise
                raise EngineUnavailable(
                    f"model {spec.name} is dead on the Triton server {self.address} and could not be loaded anew "
                    f"({failure}). Restart that server; with --model-control-mode=explicit the node does it by itself"
                ) from failure
            return True

    def close(self) -> None:
        """Close the connection; requests that are under way fail."""
        self._client.close()

    def _canary(self, spec: ModelSpec) -> None:
        self._call(
            "infer",
            spec.name,
            _wire_inputs(empty_rows(spec, 1)),
            model_version=spec.version,
            request_id="canary",
            client_timeout=self._call_timeout_s,
        )

    def _why_not(self, name: str) -> str:
        """What the server says of a model that it knows and does not serve; empty where it says nothing."""
        try:
            index: Mapping[str, Any] = self._call(
                "get_model_repository_index", as_json=True, client_timeout=PROBE_TIMEOUT_S
            )
        except CallFailed:
            return ""
        reasons = [one.get("reason", "") for one in index.get("models", []) if one.get("name") == name]
        return scrubbed("; ".join(reason for reason in reasons if reason))

    def _call(self, verb: str, *arguments: object, **options: object) -> Any:
        try:
            return getattr(self._client, verb)(*arguments, **options)
        except InferenceServerException as error:
            raise _failure(error) from error


def scrubbed(message: str) -> str:
    """A server's message without tracebacks and paths: its first words, for reasons that people are shown."""
    text = re.split(r"\s+At:\s|Traceback \(most recent", message)[0]
    # An exception's own text stands after the name of its class.
    text = re.sub(r"^.*(?:TritonModelException|TritonError): ", "", " ".join(text.split()))
    text = re.sub(r"(?<![\w.])/[^\s:;,'\"()]+", "…", text)
    return text[:LONGEST_MESSAGE]


def _failure(error: InferenceServerException) -> CallFailed:
    status = str(error.status() or "UNKNOWN").removeprefix("StatusCode.")
    return CallFailed(status, scrubbed(str(error.message())) or status)


def _wire_inputs(inputs: Tensors) -> list[Any]:
    tensors = []
    for name, array in inputs.items():
        tensor = triton_grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


def _connected(address: str, tls: Tls | None) -> Any:
    encryption: dict[str, object] = {}
    if tls is not None:
        for file in (tls.ca, tls.certificate, tls.key):
            if file is not None and not file.is_file():
                raise EngineError(f"TLS to Triton: cannot read {file}; see [engine.triton]", transient=False)
        encryption = {
            "ssl": True,
            "root_certificates": tls.ca,
            "private_key": tls.key,
            "certificate_chain": tls.certificate,
        }
    return triton_grpc.InferenceServerClient(address, channel_args=CHANNEL, **encryption)
