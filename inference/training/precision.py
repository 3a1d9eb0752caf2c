"""Other arithmetic for a served network: half precision, written into the graph by torch, and 8-bit integers (QDQ).

TensorRT 11 is strongly typed: a plan computes in the types that its graph has. Half precision is put in before the
export, in torch: the network's body in float16, its last layers, the decoding of boxes and everything behind in
float32, because half precision moves boxes by pixels. That is what AutoCast of NVIDIA's ModelOpt does to a finished
graph; ModelOpt (0.47) pins another onnx and brings ONNX Runtime for CUDA and CuPy, which do not go with the packages
of this project. Integers come from ONNX Runtime's static quantisation: symmetric, a scale a channel, convolutions only,
last layers left alone; calibrated on phantoms, which are not those that the parity gate compares.
"""

import tempfile
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from inference.model import Tensors
from inference.networks.yolov4 import Head, YoloV4
from inference.training.export import ServedUnet

CALIBRATION_ROWS = 2
"""Slices in one step of the calibration."""


class Precision(Enum):
    """What a graph computes in."""

    FP32 = "fp32"
    """Everywhere; large weights are stored in half precision, as in the shipped graphs."""
    FP16 = "fp16"
    """The network's body in half precision, its last layers in float32."""
    INT8 = "int8"
    """Convolutions in 8-bit integers but for the last ones, the rest in float32."""


class HalfBody(nn.Module):
    """A network that computes in float16 but for its last layers; float32 in and out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.body = network.half()
        self.emulated = False
        for parent, name in last_layers(network):
            setattr(parent, name, _InSingle(getattr(parent, name).float()))

    def forward(self, pictures: Tensor) -> Tensor | tuple[Tensor, ...]:
        """As the network."""
        result: Tensor | tuple[Tensor, ...] = self.body(_rounded(pictures) if self.emulated else pictures.half())
        return result

    def emulate(self) -> None:
        """From now on compute as a GPU does: half-precision numbers in and out of each layer, float32 sums in it.

        Not for export. Torch's own half precision takes minutes on a processor that has none.
        """
        self.emulated = True
        self.body.float()  # the weights are rounded already
        for name, layer in self.body.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and not name.endswith(".layer") and name != "layer":
                layer.register_forward_pre_hook(lambda _, given: tuple(map(_rounded, given)))
                layer.register_forward_hook(lambda _, __, made: _rounded(made))


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.half().float()


class _InSingle(nn.Module):
    """A layer that computes in float32, whatever it is given."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        """float32."""
        result: Tensor = self.layer(features.float())
        return result


def in_half_precision(served: nn.Module) -> nn.Module:
    """The served module with its networks' bodies in float16; changed in place."""
    if isinstance(served, ServedUnet):
        served.networks = nn.ModuleList(HalfBody(network) for network in served.networks)
    else:
        served.network = HalfBody(served.get_submodule("network"))
    return served


def emulated(served: nn.Module) -> nn.Module:
    """A served module in half precision that computes so on any processor (``HalfBody.emulate``); changed in place."""
    for module in list(served.modules()):
        if isinstance(module, HalfBody):
            module.emulate()
    return served


def last_layers(network: nn.Module) -> list[tuple[nn.Module, str]]:
    """Layers that say what was found, as (parent, name): the head of a U-Net, the predictions of others."""
    found: list[tuple[nn.Module, str]] = []
    if isinstance(network, YoloV4):
        heads = [one for one in network.modules() if isinstance(one, Head)]
        return [(head, "predict") for head in heads]
    found += [(network, name) for name in ("head", "hidden", "predict") if hasattr(network, name)]
    if not found:
        raise ValueError(f"no last layer is known of {type(network).__name__}")
    return found


def in_integers(model: onnx.ModelProto, served: nn.Module, calibration: Sequence[Tensors]) -> onnx.ModelProto:
    """The graph of ``served`` with quantised convolutions. ``calibration``: inputs of the model, a row a slice."""
    networks = list(served.networks) if isinstance(served, ServedUnet) else [served.get_submodule("network")]
    names = {id(module): name for name, module in served.named_modules()}
    heads = {
        f"{names[id(parent)]}.{name}.weight".removeprefix(".")
        for network in networks
        for parent, name in last_layers(network)
    }
    with tempfile.TemporaryDirectory() as scratch:
        plain, shaped, quantised = (Path(scratch) / f"{step}.onnx" for step in ("plain", "shaped", "quantised"))
        onnx.save(model, plain)
        quant_pre_process(str(plain), str(shaped), skip_optimization=True, skip_symbolic_shape=True)
        left_alone = [node.name for node in onnx.load(shaped).graph.node if heads & set(node.input)]
        quantize_static(
            str(shaped),
            str(quantised),
            _Calibration(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=left_alone,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # TensorRT's integers have no zero point, and it takes biases as they are.
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )
        return onnx.load(quantised)


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # untyped library
    """Hands the inputs out, a few slices at a time."""

    def __init__(self, given: Sequence[Tensors]) -> None:
        self._parts = self._cut(given)

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        """The next, or ``None`` at the end."""
        return next(self._parts, None)

    @staticmethod
    def _cut(given: Sequence[Tensors]) -> Iterator[dict[str, NDArray[np.generic]]]:
        for tensors in given:
            rows = len(next(iter(tensors.values())))
            for first in range(0, rows, CALIBRATION_ROWS):
                yield {name: array[first : first + CALIBRATION_ROWS] for name, array in tensors.items()}
