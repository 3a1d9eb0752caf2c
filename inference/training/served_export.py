"""A served network as a graph in the precision asked for, and that graph run on the CPU for the parity gate."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from inference.model import ModelSpec, Tensors
from inference.training.export import OPSET, exported, store_in_half_precision
from inference.training.precision import Precision, emulated, in_half_precision, in_integers
from inference.training.served_networks import AT_ONCE, rebuilt, run_served, trained

__all__ = ["OPSET", "Precision", "as_graph", "provenance", "rebuilt", "run_graph", "run_served", "trained"]


def as_graph(
    served: nn.Module, spec: ModelSpec, precision: Precision, *, calibration: Sequence[Tensors]
) -> onnx.ModelProto:
    """The graph of a served module, which then rounds to half precision too, where that is asked for.

    ``calibration``: inputs for ``INT8``. Raises ``ValueError`` where the graph would hang on its data.
    """
    if precision is Precision.FP16:
        served = in_half_precision(served)
    model = exported(served, spec)
    if precision is Precision.FP16:
        emulated(served)
    if precision is Precision.INT8:
        model = in_integers(model, served, calibration)
    store_in_half_precision(model)
    onnx.checker.check_model(model)
    return model


def run_graph(model: onnx.ModelProto, spec: ModelSpec, inputs: Tensors) -> Tensors:
    """Outputs of a graph for all rows, by ONNX Runtime on the CPU.

    Nothing is optimised, so that integers are rounded where the graph says so. Half precision is not: ONNX Runtime
    computes it in float32 on a CPU, and leaves out the rounding between two operators. ``run_served`` rounds.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (made,) = spec.outputs
    rows = len(inputs[spec.inputs[0].name])
    parts = [
        session.run([made.name], {one.name: inputs[one.name][first : first + AT_ONCE] for one in spec.inputs})[0]
        for first in range(0, rows, AT_ONCE)
    ]
    return {made.name: np.concatenate(parts)}


def provenance(weights: Sequence[Path], *, threshold: float | None) -> dict[str, object]:
    """What a graph was exported from and by: digests of the files of weights, versions."""
    return {
        "weights_sha256": [hashlib.sha256(file.read_bytes()).hexdigest() for file in weights],
        "threshold": threshold,
        "opset": OPSET,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
