"""The probabilities behind a served graph's labels, for figures over all thresholds.

A served graph gives labels alone; inside it the probability is a tensor named ``PROBABILITY``. Here it becomes a second
output, in single precision, whatever the arithmetic that serves. Knows OpenVINO; nothing else of the evaluation does.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from inference.engines.base import EngineError
from inference.model import ModelSpec, Tensors

PROBABILITY = "probability"
"""Name in the graph; float, n×256×256, of the foreground."""
BATCH = 4
"""Slices in one call."""
_SINGLE_PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}


class Scores:
    """The probabilities of one model file, ``graph`` (ONNX). Raises ``EngineError`` where it cannot be read."""

    def __init__(self, graph: Path) -> None:
        core = openvino.Core()
        try:
            encoded = graph.read_bytes()
            model = core.read_model(model=encoded, weights=b"")
        except (OSError, RuntimeError) as error:
            raise EngineError(f"{graph} is not a graph that can be read", transient=False) from error
        self.digest = hashlib.sha256(encoded).hexdigest()
        self._compiled: Any = None
        if _has_tensor(model, PROBABILITY):
            model.add_outputs(PROBABILITY)
            self._compiled = core.compile_model(model, "CPU", _SINGLE_PRECISION)

    @property
    def known(self) -> bool:
        """Whether the graph has the tensor."""
        return self._compiled is not None

    def probability(self, spec: ModelSpec, inputs: Tensors) -> NDArray[np.float32]:
        """Of the foreground, for all rows of the batch axis (n, 256, 256). Raises ``EngineError``."""
        rows = len(inputs[spec.inputs[0].name])
        shape = (rows, *spec.outputs[0].shape)
        result = np.empty(shape, np.float32)
        request = self._compiled.create_infer_request()
        for first in range(0, rows, BATCH):
            part = {name: np.ascontiguousarray(tensor[first : first + BATCH]) for name, tensor in inputs.items()}
            try:
                request.infer(part)
            except RuntimeError as error:
                raise EngineError(f"model {spec.name} failed to run in single precision", transient=True) from error
            found = request.get_tensor(PROBABILITY).data
            if found.shape[1:] != shape[1:]:
                raise EngineError(f"model {spec.name}: {PROBABILITY} is {found.shape}, not {shape}", transient=False)
            result[first : first + BATCH] = found
        return result


def _has_tensor(model: openvino.Model, name: str) -> bool:
    return any(name in output.get_names() for node in model.get_ops() for output in node.outputs())
