"""The verbs every engine has. One test suite (``tests/seams``) runs on every implementation.

An engine is named in settings by its kind and imported on use, so that neither OpenVINO nor tritonclient
is in the import graph of a process that does not use it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from inference.findings import ModelIdentity
from inference.model import ModelSpec, Tensors

WELL = "ok"
"""What ``Engine.health`` says when nothing is wrong."""


class EngineError(Exception):
    """A model could not be run. ``transient`` tells whether the same call may succeed later."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class EngineUnavailable(EngineError):
    """The place where models run is away, or serves something else. No study is at fault: studies wait."""

    def __init__(self, message: str) -> None:
        super().__init__(message, transient=True)


class Engine(Protocol):
    """Runs served models. Thread-safe; holds compiled models for its lifetime."""

    def identity(self, spec: ModelSpec) -> ModelIdentity:
        """Name, version and digest of the weights that ``run`` would use. Raises ``EngineError``."""
        ...

    def run(self, spec: ModelSpec, inputs: Tensors, *, cancelled: Callable[[], bool] | None = None) -> Tensors:
        """Outputs for all rows of the batch axis, in order; the engine cuts batches as suits it.

        ``inputs`` and the result have the names, types and shapes of ``spec``. ``cancelled`` is asked between
        batches; when it says yes, ``EngineError`` (transient) is raised.
        """
        ...

    def health(self, needed: Sequence[ModelSpec] | None = None) -> str:
        """``WELL``, or why a study that needs these models (``None``: any) would have to wait. Takes seconds."""
        ...

    def close(self) -> None:
        """Free the models. The engine is not used afterwards."""
        ...


def checked_rows(spec: ModelSpec, inputs: Tensors) -> int:
    """Length of the batch axis. Raises ``ValueError`` where the caller does not keep to the specification."""
    lengths = set()
    for tensor in spec.inputs:
        array = inputs[tensor.name]
        if array.dtype != np.dtype(tensor.dtype) or array.shape[1:] != tensor.shape:
            raise ValueError(
                f"{spec.name}: {tensor.name} is {array.dtype} {array.shape}, not {tensor.dtype} (n, *{tensor.shape})"
            )
        lengths.add(array.shape[0])
    if len(lengths) != 1:
        raise ValueError(f"{spec.name}: inputs of different lengths {sorted(lengths)}")
    return int(lengths.pop())


def empty_rows(spec: ModelSpec, rows: int) -> Tensors:
    """Inputs of zeros, as a canary takes them."""
    return {one.name: np.zeros((rows, *one.shape), one.dtype) for one in spec.inputs}


def run_canary(engine: Engine, spec: ModelSpec) -> None:
    """Load a model and run it once on an empty slice, so that no study is the first to find it dead.

    Raises ``EngineError`` where it does not run or answers in another form than its specification.
    """
    outputs = engine.run(spec, empty_rows(spec, 1))
    for made in spec.outputs:
        if outputs[made.name].shape != (1, *made.shape) or outputs[made.name].dtype != np.dtype(made.dtype):
            raise EngineError(f"model {spec.name}: output {made.name} is not as specified", transient=False)
