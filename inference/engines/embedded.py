"""The embedded engine: OpenVINO in this process, on ONNX files of the model repository.

Owns compiled models and the choice of arithmetic. A model is compiled when it is first run and kept; its file is
read once, so that what ``identity`` names is what runs. The repository has Triton's layout:
``<repository>/<model>/<version>/model.onnx``. OpenVINO's exceptions are translated here and nowhere else.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from inference.engines.base import WELL, Engine, EngineError, checked_rows
from inference.engines.output_parity import OutputKind, kind_of
from inference.engines.times import InferenceTimes, Part
from inference.findings import ModelIdentity
from inference.model import ModelSpec, Tensors, TensorSpec

BATCH = 4
"""Slices in one call. OpenVINO keeps activations for whole batches of all its streams; larger ones gain no speed."""
_DEVICE = "CPU"
ENGINE = "embedded"
"""Its name in metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    encoded: bytes
    digest: str


class EmbeddedEngine(Engine):
    """Runs the models of ``repository`` on the CPU (see ``inference.engines.base.Engine``).

    ``single_precision``: float32 even where the processor is faster in bfloat16: what other arithmetic is held against.
    ``threads``: how many cores one call may use; ``None`` leaves it to OpenVINO, which takes all it is allowed.
    Calls from several threads take turns on one model, since one call already uses every core. ``times``: where waiting
    and computing are added up.
    """

    def __init__(
        self,
        *,
        repository: Path,
        threads: int | None = None,
        single_precision: bool = False,
        times: InferenceTimes | None = None,
    ) -> None:
        self._repository = repository
        self._core: openvino.Core | None = openvino.Core()
        self._threads = threads
        self._single_precision = single_precision
        self._times = times or InferenceTimes()
        self._lock = threading.Lock()
        self._weights: dict[str, _Weights] = {}
        self._models: dict[str, tuple[openvino.CompiledModel, threading.Lock]] = {}

    def identity(self, spec: ModelSpec) -> ModelIdentity:
        """Name, version and digest of the weights that ``run`` would use. Raises ``EngineError``."""
        return ModelIdentity(
            name=spec.name,
            version=spec.version,
            digest=self._read(spec).digest,
            trained_on=spec.trained_on,
            licence=spec.licence,
        )

    def run(self, spec: ModelSpec, inputs: Tensors, *, cancelled: Callable[[], bool] | None = None) -> Tensors:
        """Outputs for all rows of the batch axis, in order. Raises ``EngineError``."""
        rows = checked_rows(spec, inputs)
        compiled, turn = self._model(spec)
        outputs = {tensor.name: np.empty((rows, *tensor.shape), tensor.dtype) for tensor in spec.outputs}
        asked = time.perf_counter()
        with turn:
            began = time.perf_counter()
            try:
                _stream(compiled, inputs, outputs, rows, cancelled or _never)
            except (RuntimeError, EngineError) as error:
                self._times.add_failure(spec.name, ENGINE)
                if isinstance(error, EngineError):
                    raise
                raise EngineError(f"model {spec.name} failed to run: {_cause(error)}", transient=True) from error
            spent = {Part.QUEUE: began - asked, Part.COMPUTE: time.perf_counter() - began}
        self._times.add(spec.name, ENGINE, requests=1, slices=rows, seconds=spent)
        return outputs

    def health(self, needed: Sequence[ModelSpec] | None = None) -> str:
        """``WELL``: what can go wrong here goes wrong with the study's own process."""
        return WELL

    def close(self) -> None:
        """Free the models. The engine is not used afterwards."""
        with self._lock:
            self._models.clear()
            self._weights.clear()
            self._core = None

    def _read(self, spec: ModelSpec) -> _Weights:
        with self._lock:
            if spec.name not in self._weights:
                path = self._repository / spec.name / spec.version / "model.onnx"
                try:
                    encoded = path.read_bytes()
                except OSError as error:
                    raise EngineError(
                        f"model {spec.name}: cannot read {path} ({error.strerror}). Check the model repository in the "
                        "settings, and that the installation is complete (dicom-node models verify)",
                        transient=False,
                    ) from error
                self._weights[spec.name] = _Weights(encoded=encoded, digest=hashlib.sha256(encoded).hexdigest())
            return self._weights[spec.name]

    def _model(self, spec: ModelSpec) -> tuple[openvino.CompiledModel, threading.Lock]:
        weights = self._read(spec)
        with self._lock:
            if self._core is None:
                raise EngineError("the engine is closed", transient=False)
            if spec.name not in self._models:
                # bfloat16 leaves labels where they are. It moves probabilities by 0.03 (pe_classifier), and scores of
                # boxes by 0.45 (pe_detector, where the suppression keeps another of two boxes).
                exact = self._single_precision or any(kind_of(one) is not OutputKind.LABELS for one in spec.outputs)
                properties = _properties(self._core, self._threads, exact)
                self._models[spec.name] = (_compiled(self._core, spec, weights, properties), threading.Lock())
            return self._models[spec.name]


def _stream(
    compiled: openvino.CompiledModel, inputs: Tensors, outputs: Tensors, rows: int, cancelled: Callable[[], bool]
) -> None:
    """Run all batches, as many at a time as there are streams, and fill ``outputs``.

    Raises ``RuntimeError`` (OpenVINO) and ``EngineError`` (cancelled); no batch is running any more then.
    """
    # Not AsyncInferQueue: its callbacks run on OpenVINO's threads and can lock up with Python's when one ends.
    streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    requests = [compiled.create_infer_request() for _ in range(streams)]
    running: deque[tuple[openvino.InferRequest, int]] = deque()

    def finish_oldest() -> None:
        request, first = running.popleft()
        request.wait()
        for name, output in outputs.items():
            part = output[first : first + BATCH]
            part[...] = request.get_tensor(name).data[: len(part)]
        requests.append(request)

    try:
        for first in range(0, rows, BATCH):
            if cancelled():
                raise EngineError(f"cancelled after {first} of {rows} slices", transient=True)
            if not requests:
                finish_oldest()
            request = requests.pop()
            request.start_async({name: _padded(tensor[first : first + BATCH]) for name, tensor in inputs.items()})
            running.append((request, first))
        while running:
            finish_oldest()
    finally:
        for request, _ in running:
            request.cancel()
        for request, _ in running:  # each has to end, however the one before it did
            with suppress(RuntimeError):
                request.wait()


def _never() -> bool:
    return False


def _properties(core: openvino.Core, threads: int | None, single_precision: bool) -> dict[str, object]:
    """Half precision only where the CPU computes in it: elsewhere it is emulated, about three times slower."""
    has_bf16 = not single_precision and "BF16" in core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    chosen: dict[str, object] = {
        "INFERENCE_PRECISION_HINT": "bf16" if has_bf16 else "f32",
        "ENABLE_CPU_PINNING": False,  # pinned threads of two processes, or of a container, queue up on one core
        "PERFORMANCE_HINT": "THROUGHPUT",  # streams of their own wait less for each other than threads of one call
    }
    if threads is not None:
        chosen["INFERENCE_NUM_THREADS"] = threads
    return chosen


def _compiled(
    core: openvino.Core, spec: ModelSpec, weights: _Weights, properties: dict[str, object]
) -> openvino.CompiledModel:
    try:
        model = core.read_model(model=weights.encoded, weights=b"")
        wrong = _differences(spec, model)
        if wrong:
            raise EngineError(
                f"model {spec.name}: the file is not the model that this version of the node expects: "
                f"{'; '.join(wrong)}. Restore the model file of this version (dicom-node models verify)",
                transient=False,
            )
        # A fixed batch compiles to faster code than a free one; the last batch is padded.
        model.reshape({tensor.name: [BATCH, *tensor.shape] for tensor in spec.inputs})
        return core.compile_model(model, _DEVICE, properties)
    except RuntimeError as error:
        raise EngineError(
            f"model {spec.name}: the file cannot be loaded ({_cause(error)}). It may be damaged or only partly "
            "copied: restore it (dicom-node models verify)",
            transient=False,
        ) from error


def _differences(spec: ModelSpec, model: openvino.Model) -> list[str]:
    """How the graph's tensors differ from the specification; empty where they agree."""
    wrong = []
    for kind, wanted, ports in (("input", spec.inputs, model.inputs), ("output", spec.outputs, model.outputs)):
        found = {name: port for port in ports for name in port.names}
        if len(ports) != len(wanted):
            wrong.append(f"{len(ports)} {kind} tensors instead of {len(wanted)}")
        for tensor in wanted:
            if tensor.name not in found:
                wrong.append(f"no {kind} named {tensor.name}")
            elif difference := _difference(tensor, found[tensor.name]):
                wrong.append(f"{kind} {tensor.name} is {difference}")
    return wrong


def _difference(tensor: TensorSpec, port: openvino.Output) -> str:
    dtype = port.get_element_type().to_dtype()
    shape = port.get_partial_shape()
    expected = openvino.PartialShape([-1, *tensor.shape])
    if dtype == np.dtype(tensor.dtype) and shape.compatible(expected):
        return ""
    return f"{dtype} {shape} instead of {tensor.dtype} {expected}"


def _padded(rows: NDArray[np.generic]) -> NDArray[np.generic]:
    if len(rows) == BATCH:
        return np.ascontiguousarray(rows)
    padded = np.zeros((BATCH, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    return padded


def _cause(error: RuntimeError) -> str:
    """The last line of OpenVINO's message: the others are its source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
