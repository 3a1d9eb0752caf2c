"""The Triton engine: models on one or several Triton servers, by gRPC.

Owns cutting a volume into requests, who gets them, and what an error means. Several requests are under way at once,
each with a deadline; the server with the fewest gets the next. UNAVAILABLE is tried again (no answer, or a full queue),
NOT_FOUND too (being loaded anew), first on another server where there is one; a failed inference has its model tried
and, where it is dead, loaded anew. Before the first request of every run a server's configuration is compared with our
own bundle, so that a server that came back with other weights is not asked. Where no server is left,
``EngineUnavailable`` says why, and the caller waits. Without shared memory: gRPC costs about two per cent of inference
on a CPU, and memory that outlives a killed client costs more.
"""

import hashlib
import itertools
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inference.engines.base import WELL, Engine, EngineError, EngineUnavailable, checked_rows
from inference.engines.times import InferenceTimes
from inference.engines.triton_config import USUAL_BATCH
from inference.engines.triton_peer import CallFailed, Cancel, Tls, TritonPeer
from inference.engines.triton_times import ENGINE, Stay
from inference.findings import ModelIdentity
from inference.model import ModelSpec, Tensors

IN_FLIGHT = 3
"""Requests of one run that a server has at once: one computes, one waits, one is on its way."""
POLL_S = 0.1
"""How often a caller is asked whether its job is cancelled while nothing comes back."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
"""Between tries of one request; the pause doubles."""
INFERENCE_TRIES = 2
"""Of one request that fails in the model itself."""


class TritonEngine(Engine):
    """Runs the models of ``repository`` on the servers at ``addresses`` (see ``inference.engines.base.Engine``).

    ``repository``: our own copy of what the servers serve, which theirs is compared with. ``call_timeout_s``: deadline
    of one request, queueing included; also how long a full queue is waited for. ``times``: where the parts of the time
    of requests are added up.
    """

    def __init__(
        self,
        *,
        repository: Path,
        addresses: Sequence[str],
        call_timeout_s: float = 60.0,
        tls: Tls | None = None,
        times: InferenceTimes | None = None,
    ) -> None:
        if not addresses:
            raise EngineError("no Triton server is named: see [engine.triton] addresses", transient=False)
        self._repository = repository
        self._call_timeout_s = call_timeout_s
        self._peers = [TritonPeer(address, tls=tls, call_timeout_s=call_timeout_s) for address in addresses]
        self._lock = threading.Lock()
        self._digests: dict[str, str] = {}
        self._agreed: set[str] = set()
        """Models that a server was found to serve from our weights."""
        self._mismatched: dict[str, ModelSpec] = {}
        """Models that no server was found to serve, until one is."""
        self._turn = itertools.count()
        self._times = times or InferenceTimes()

    def identity(self, spec: ModelSpec) -> ModelIdentity:
        """Name, version and digest of the weights that the servers state and our bundle has. Raises ``EngineError``."""
        digest = self._digest(spec)
        if spec.name not in self._agreed:
            self._pick(spec, agreed=set())
        return ModelIdentity(
            name=spec.name,
            version=spec.version,
            digest=digest,
            trained_on=spec.trained_on,
            licence=spec.licence,
        )

    def run(self, spec: ModelSpec, inputs: Tensors, *, cancelled: Callable[[], bool] | None = None) -> Tensors:
        """Outputs for all rows of the batch axis, in order. Raises ``EngineError``, ``EngineUnavailable``."""
        rows = checked_rows(spec, inputs)
        self._digest(spec)
        outputs = {one.name: np.empty((rows, *one.shape), one.dtype) for one in spec.outputs}
        run = _Run(spec=spec, inputs=inputs, rows=rows, cancelled=cancelled or _never)
        try:
            while run.waiting or run.running:
                while run.waiting and len(run.running) < IN_FLIGHT * len(self._peers):
                    run.stop_if_cancelled()
                    self._send(run, run.waiting.popleft())
                self._receive(run, outputs)
        except EngineError:
            self._times.add_failure(spec.name, ENGINE)
            raise
        finally:
            for sent in run.running.values():
                sent.cancel()
                self._count(sent.peer, -1)
        for peer, stay in run.stays.items():
            stay.add_to(self._times, spec, peer)
        return outputs

    def health(self, needed: Sequence[ModelSpec] | None = None) -> str:
        """``WELL``, or why no server takes a study now; a model that is not ``needed`` holds up none."""
        causes = []
        asked = [one for one in tuple(self._mismatched.values()) if needed is None or one in needed]
        for peer in self._peers:
            try:
                peer.ask_whether_live()
                for spec in asked:
                    peer.check(spec, sha256=self._digest(spec))
                    self._agree(spec)
                peer.note_answer()
                return WELL
            except (CallFailed, EngineError) as failure:
                causes.append(f"{peer.address}: {failure}" if isinstance(failure, CallFailed) else str(failure))
        return _none_left(causes)

    def platforms(self, spec: ModelSpec) -> tuple[str, ...]:
        """What runs the model on each server. Raises ``EngineUnavailable`` where one does not say."""
        try:
            return tuple(peer.platform(spec) for peer in self._peers)
        except CallFailed as failure:
            raise EngineUnavailable(f"model {spec.name}: its configuration cannot be read ({failure})") from failure

    def close(self) -> None:
        """Close the connections. The engine is not used afterwards."""
        for peer in self._peers:
            peer.close()

    def _send(self, run: "_Run", chunk: "_Chunk") -> None:
        """Raises ``EngineUnavailable`` where no server is left."""
        pause = chunk.not_before - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        peer = self._pick(run.spec, agreed=run.agreed, failed_on=frozenset(chunk.failed_on))
        key = next(run.keys)
        part = {
            name: np.ascontiguousarray(tensor[chunk.first : chunk.first + USUAL_BATCH])
            for name, tensor in run.inputs.items()
        }
        if peer not in run.stays:
            run.stays[peer] = Stay.begun(peer, run.spec)
        began = time.perf_counter()
        try:
            cancel = peer.start(
                run.spec,
                part,
                request_id=f"{run.name}/{chunk.first}",
                done=lambda answer: run.answers.put((key, answer, time.perf_counter() - began)),
            )
        except CallFailed as failure:
            self._after_failure(run, chunk, peer, failure)
            return
        self._count(peer, 1)
        run.running[key] = _Sent(chunk=chunk, peer=peer, cancel=cancel)

    def _receive(self, run: "_Run", outputs: Tensors) -> None:
        """Wait for one answer and keep it, or for a moment."""
        if not run.running:
            return
        try:
            key, answer, round_trip_s = run.answers.get(timeout=POLL_S)
        except queue.Empty:
            run.stop_if_cancelled()
            return
        sent = run.running.pop(key)
        self._count(sent.peer, -1)
        if isinstance(answer, CallFailed):
            self._after_failure(run, sent.chunk, sent.peer, answer)
            return
        sent.peer.note_answer()
        run.stays[sent.peer].answered(min(USUAL_BATCH, run.rows - sent.chunk.first), round_trip_s)
        for one in run.spec.outputs:
            target, found = outputs[one.name][sent.chunk.first : sent.chunk.first + USUAL_BATCH], answer[one.name]
            if found is None or found.shape != target.shape or found.dtype != target.dtype:
                form = "nothing" if found is None else f"{found.dtype} {found.shape}"
                raise EngineError(
                    f"model {run.spec.name}: the Triton server {sent.peer.address} answers {form} as {one.name}, not "
                    f"{target.dtype} {target.shape}",
                    transient=False,
                )
            target[...] = found

    def _after_failure(self, run: "_Run", chunk: "_Chunk", peer: TritonPeer, failure: CallFailed) -> None:
        """Put the chunk back, or raise ``EngineError`` where that would not help."""
        if failure.status in ("UNAVAILABLE", "NOT_FOUND"):  # not found: being loaded anew, or taken away
            run.agreed.discard(peer)
            if not failure.queue_is_full:
                peer.note_failure(failure)
            chunk.refused_since = chunk.refused_since or time.monotonic()
            if chunk.refused_since + self._call_timeout_s < time.monotonic():
                raise EngineUnavailable(
                    f"model {run.spec.name}: {peer.address} has not taken a request for {self._call_timeout_s:.0f} s "
                    f"({failure})"
                )
        elif failure.status == "DEADLINE_EXCEEDED":
            peer.note_failure(failure)
            raise EngineError(
                f"model {run.spec.name} did not answer on {peer.address} within {self._call_timeout_s:.0f} s",
                transient=True,
            )
        elif failure.status == "INVALID_ARGUMENT":
            raise EngineError(f"model {run.spec.name}: {peer.address} refuses the request: {failure}", transient=False)
        else:
            self._after_failed_inference(run, chunk, peer, failure)
        chunk.tries += 1
        chunk.failed_on.add(peer)
        chunk.not_before = time.monotonic() + min(FIRST_PAUSE_S * 2 ** (chunk.tries - 1), LONGEST_PAUSE_S)
        run.waiting.appendleft(chunk)

    def _after_failed_inference(self, run: "_Run", chunk: "_Chunk", peer: TritonPeer, failure: CallFailed) -> None:
        chunk.inference_failures += 1
        if chunk.inference_failures >= INFERENCE_TRIES:
            raise EngineError(f"model {run.spec.name} failed on {peer.address}: {failure}", transient=True)
        run.agreed.discard(peer)
        try:
            peer.mend(run.spec)
        except CallFailed as unanswered:
            peer.note_failure(unanswered)

    def _pick(
        self, spec: ModelSpec, *, agreed: set[TritonPeer], failed_on: frozenset[TritonPeer] = frozenset()
    ) -> TritonPeer:
        """The server with the least to do of those that serve our weights. Raises ``EngineUnavailable``.

        ``failed_on`` come last: a server that fails at once has always the least to do.
        """
        turn = next(self._turn)
        rotated = [self._peers[(turn + offset) % len(self._peers)] for offset in range(len(self._peers))]
        causes, mismatched = [], False
        for peer in sorted(rotated, key=lambda one: (one in failed_on, one.in_flight)):
            if not peer.worth_asking():
                causes.append(peer.last_failure)
                continue
            while peer.worth_asking():
                try:
                    if peer not in agreed:
                        peer.check(spec, sha256=self._digest(spec))
                        agreed.add(peer)
                        self._agree(spec)
                    return peer
                except CallFailed as failure:
                    peer.note_failure(failure)
                    if not peer.worth_asking():
                        causes.append(peer.last_failure)
                    else:
                        time.sleep(FIRST_PAUSE_S)
                except EngineUnavailable as mismatch:
                    causes.append(str(mismatch))
                    mismatched = True
                    break
        if mismatched:
            self._mismatched[spec.name] = spec
        raise EngineUnavailable(_none_left(causes))

    def _agree(self, spec: ModelSpec) -> None:
        self._agreed.add(spec.name)
        self._mismatched.pop(spec.name, None)

    def _count(self, peer: TritonPeer, change: int) -> None:
        with self._lock:
            peer.in_flight += change

    def _digest(self, spec: ModelSpec) -> str:
        with self._lock:
            if spec.name not in self._digests:
                path = self._repository / spec.name / spec.version / "model.onnx"
                try:
                    self._digests[spec.name] = hashlib.sha256(path.read_bytes()).hexdigest()
                except OSError as error:
                    raise EngineError(
                        f"model {spec.name}: cannot read {path} ({error.strerror}), which Triton's is held against. "
                        "Check the model repository in the settings, and that the installation is complete "
                        "(dicom-node models verify)",
                        transient=False,
                    ) from error
            return self._digests[spec.name]


@dataclass(slots=True, kw_only=True)
class _Chunk:
    """Rows of one request, and what was tried with them."""

    first: int
    refused_since: float = 0.0
    """Monotonic time of its first UNAVAILABLE; 0: none."""
    not_before: float = 0.0
    tries: int = 0
    inference_failures: int = 0
    failed_on: set[TritonPeer] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    chunk: _Chunk
    peer: TritonPeer
    cancel: Cancel


class _Run:
    """One call of ``run``: what waits, what is under way, and where the answers come in."""

    def __init__(self, *, spec: ModelSpec, inputs: Tensors, rows: int, cancelled: Callable[[], bool]) -> None:
        self.spec = spec
        self.inputs = inputs
        self.name = uuid.uuid4().hex[:12]
        """Of this run in the server's log."""
        self.waiting = deque(_Chunk(first=first) for first in range(0, rows, USUAL_BATCH))
        self.running: dict[int, _Sent] = {}
        self.answers: queue.SimpleQueue[tuple[int, Tensors | CallFailed, float]] = queue.SimpleQueue()
        """Key, answer, and seconds that it took."""
        self.stays: dict[TritonPeer, Stay] = {}
        self.agreed: set[TritonPeer] = set()
        self.keys = itertools.count()
        self.rows = rows
        self._cancelled = cancelled

    def stop_if_cancelled(self) -> None:
        """Raises ``EngineError``."""
        if self._cancelled():
            left = len(self.waiting) + len(self.running)
            raise EngineError(f"cancelled with {left} requests of {self.rows} slices open", transient=True)


def _none_left(causes: Sequence[str]) -> str:
    return "no Triton server can be used: " + "; ".join(dict.fromkeys(causes))


def _never() -> bool:
    return False
