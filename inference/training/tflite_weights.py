"""ImageNet weights of MobileNetV2 out of a quantised TensorFlow Lite file.

Reads as much of the FlatBuffers format and of TensorFlow Lite's schema (tensors, quantisation, buffers) as that takes.
A stored value q stands for scale × (q − zero point).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inference.networks.mobilenet_v2 import Convolution, MobileNetV2

IDENTIFIER = b"TFL3"
_TYPES: dict[int, str] = {0: "<f4", 2: "<i4", 3: "u1", 9: "i1"}
"""TensorType of the schema."""
# Positions of fields in the tables of the schema.
_MODEL_SUBGRAPHS, _MODEL_BUFFERS = 2, 4
_SUBGRAPH_TENSORS = 0
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_QUANTISATION = range(5)
_QUANTISATION_SCALE, _QUANTISATION_ZERO = 2, 3
_BUFFER_DATA = 0


def load_imagenet(network: MobileNetV2, file: Path) -> None:
    """Fill the features of ``network``; its head keeps its random weights.

    Raises ``ValueError`` where the file is no TensorFlow Lite model or lacks a layer.
    """
    tensors = dict(constant_tensors(file))
    for layer, module in zip(_layer_names(), _convolutions(network), strict=True):
        weights = _one(tensors, layer, "weights_quant", file)
        bias = _one(tensors, layer, "BatchNorm_Fold/bias", file)
        # Convolutions are stored (out, rows, columns, in), those by channel (1, rows, columns, channels).
        depthwise = module.convolution.groups > 1
        weights = weights.transpose(3, 0, 1, 2) if depthwise else weights.transpose(0, 3, 1, 2)
        if weights.shape != tuple(module.convolution.weight.shape):
            raise ValueError(f"{file}: {layer} has the shape {weights.shape}; this is no MobileNetV2 of width 1.0")
        with torch.no_grad():
            module.convolution.weight.copy_(torch.from_numpy(np.ascontiguousarray(weights)))
            if module.convolution.bias is not None:
                module.convolution.bias.copy_(torch.from_numpy(bias))


def constant_tensors(file: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Name and de-quantised values of every constant. Raises ``ValueError`` for another format."""
    content = file.read_bytes()
    if content[4:8] != IDENTIFIER:
        raise ValueError(f"{file} is no TensorFlow Lite model")
    try:
        model = _Table(content, struct.unpack_from("<I", content, 0)[0])
        buffers = model.tables(_MODEL_BUFFERS)
        for tensor in model.tables(_MODEL_SUBGRAPHS)[0].tables(_SUBGRAPH_TENSORS):
            data = buffers[tensor.number(_TENSOR_BUFFER, "<I")].vector(_BUFFER_DATA, np.dtype("u1"))
            kind = tensor.number(_TENSOR_TYPE, "<B")
            if len(data) and kind in _TYPES:
                shape = tensor.vector(_TENSOR_SHAPE, np.dtype("<i4"))
                values = np.frombuffer(data.tobytes(), _TYPES[kind]).reshape(shape).astype(np.float32)
                yield tensor.text(_TENSOR_NAME), _dequantised(values, tensor.table(_TENSOR_QUANTISATION))
    except (struct.error, IndexError) as error:
        raise ValueError(f"{file} is cut off or damaged") from error


class _Table:
    """One table of a FlatBuffer; fields that are left out are empty."""

    def __init__(self, content: bytes, position: int) -> None:
        self._content, self._position = content, position

    def _field(self, index: int) -> int:
        """Where the field is; 0 where it was left out."""
        layout = self._position - struct.unpack_from("<i", self._content, self._position)[0]
        entry = 4 + 2 * index
        if entry >= struct.unpack_from("<H", self._content, layout)[0]:
            return 0
        offset = int(struct.unpack_from("<H", self._content, layout + entry)[0])
        return self._position + offset if offset else 0

    def _target(self, at: int) -> int:
        return at + int(struct.unpack_from("<I", self._content, at)[0])

    def number(self, index: int, form: str) -> int:
        field = self._field(index)
        return int(struct.unpack_from(form, self._content, field)[0]) if field else 0

    def table(self, index: int) -> "_Table | None":
        field = self._field(index)
        return _Table(self._content, self._target(field)) if field else None

    def tables(self, index: int) -> list["_Table"]:
        start = self._target(self._field(index))
        count = struct.unpack_from("<I", self._content, start)[0]
        return [_Table(self._content, self._target(start + 4 + 4 * one)) for one in range(count)]

    def vector(self, index: int, dtype: "np.dtype[np.generic]") -> NDArray[np.generic]:
        field = self._field(index)
        if not field:
            return np.zeros(0, dtype)
        start = self._target(field)
        count = struct.unpack_from("<I", self._content, start)[0]
        if start + 4 + count * dtype.itemsize > len(self._content):
            raise IndexError(index)
        return np.frombuffer(self._content, dtype, count, start + 4)

    def text(self, index: int) -> str:
        return self.vector(index, np.dtype("u1")).tobytes().decode()


def _dequantised(values: NDArray[np.float32], quantisation: _Table | None) -> NDArray[np.float32]:
    if quantisation is None:
        return values
    scale = quantisation.vector(_QUANTISATION_SCALE, np.dtype("<f4")).astype(np.float32)
    zero = quantisation.vector(_QUANTISATION_ZERO, np.dtype("<i8")).astype(np.float32)
    if len(scale) != 1:
        return values
    return np.asarray((values - (zero[0] if len(zero) else 0)) * scale[0], np.float32)


def _layer_names() -> Iterator[str]:
    yield "MobilenetV2/Conv/"
    for block in range(17):
        name = "MobilenetV2/expanded_conv" + (f"_{block}" if block else "")
        if block:
            yield f"{name}/expand/"
        yield f"{name}/depthwise/"
        yield f"{name}/project/"
    yield "MobilenetV2/Conv_1/"


def _convolutions(network: MobileNetV2) -> list[Convolution]:
    return [module for module in network.features.modules() if isinstance(module, Convolution)]


def _one(tensors: dict[str, NDArray[np.float32]], layer: str, kind: str, file: Path) -> NDArray[np.float32]:
    """The tensor of a layer. Joined operations have names joined by semicolons; the first one counts."""
    for name, values in tensors.items():
        if name.startswith(layer) and kind in name:
            return values
    raise ValueError(f"{file} has no {kind} of {layer}: it is no MobileNetV2 of width 1.0")
