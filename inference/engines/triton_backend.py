"""Our embedded engine as a model of Triton's Python backend: the one source behind every ``model.py``.

Runs inside Triton's stub process, where ``triton_python_backend_utils`` exists, and nowhere else. Owns no state
beyond the compiled model, and knows of the model only what its Triton configuration says.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from inference.engines.base import EngineError, run_canary
from inference.engines.embedded import EmbeddedEngine
from inference.engines.triton_config import DIGEST_PARAMETER, TRITON_TYPES
from inference.model import ModelSpec, TensorSpec


class TritonPythonModel:
    """What the backend looks for by this name; its verbs and their names are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load and try the model. Raises ``TritonModelException``, which keeps the model from becoming ready."""
        config = json.loads(args["model_config"])
        self._spec = _spec_of(config, version=args["model_version"])
        self._engine = EmbeddedEngine(repository=Path(args["model_repository"]).parent)
        try:
            found = self._engine.identity(self._spec).digest
            stated = config["parameters"][DIGEST_PARAMETER]["string_value"]
            if found != stated:
                raise pb_utils.TritonModelException(
                    f"model.onnx has the digest {found[:16]}, its configuration states {stated[:16]}"
                )
            run_canary(self._engine, self._spec)
        except EngineError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        _try_the_way_through()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer every request; one that fails or was cancelled fails alone."""
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        """Free the model."""
        self._engine.close()

    def _answer(self, request: Any) -> Any:
        inputs = {
            one.name: pb_utils.get_input_tensor_by_name(request, one.name).as_numpy() for one in self._spec.inputs
        }
        try:
            outputs = self._engine.run(self._spec, inputs, cancelled=request.is_cancelled)
        except EngineError as error:
            code = pb_utils.TritonError.CANCELLED if request.is_cancelled() else pb_utils.TritonError.INTERNAL
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))
        return pb_utils.InferenceResponse([pb_utils.Tensor(one.name, outputs[one.name]) for one in self._spec.outputs])


def _spec_of(config: dict[str, Any], *, version: str) -> ModelSpec:
    numpy_names = {triton: numpy_name for numpy_name, triton in TRITON_TYPES.items()}
    inputs, outputs = (
        tuple(
            TensorSpec(
                name=one["name"],
                dtype=numpy_names[one["data_type"]],
                shape=tuple(int(length) for length in one["dims"]),
            )
            for one in config[kind]
        )
        for kind in ("input", "output")
    )
    return ModelSpec(
        name=config["name"],
        version=version,
        inputs=inputs,
        outputs=outputs,
        labels=(),
        source="",
        trained_on="",
        licence="",
    )


def _try_the_way_through() -> None:
    """Whether tensors pass the backend unharmed: the stub, built for NumPy 1, silently empties those of NumPy 2.

    Raises ``TritonModelException``.
    """
    sent = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    if not np.array_equal(pb_utils.Tensor("sent", sent).as_numpy(), sent):
        raise pb_utils.TritonModelException(
            f"NumPy {np.__version__} does not fit this Triton's Python backend: tensors arrive changed. Install "
            "numpy<2 in the environment that Triton runs in"
        )
