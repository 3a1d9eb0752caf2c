"""Weights in Darknet's format, read into and written from ``YoloV4``.

The format is a header (three 32-bit integers for the version, then the number of pictures seen, 64-bit from version 0.2
on) and float32 values without names, convolution by convolution in the order of the ``.cfg``: with batch normalisation
its bias, scale, mean and variance, else the bias; then the weights (out, in, rows, columns).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.networks.yolov4 import Convolution, YoloV4

VERSION = (0, 2, 5)
VALUE_BYTES = 4
_WIDE_COUNT_FROM = (0, 2)
"""Version from which the number of pictures seen has 64 bits."""


def load_darknet(network: YoloV4, file: Path) -> None:
    """Fill ``network``. Raises ``ValueError`` where the file holds fewer or more values than it has."""
    values = _values(file)
    wanted = darknet_values(network)
    if wanted != len(values):
        raise ValueError(
            f"{file} holds {len(values)} values, this network {wanted}: another size, number of classes or of channels"
        )
    position = 0
    with torch.no_grad():
        for tensor in _tensors(network):
            part = values[position : position + tensor.numel()]
            tensor.copy_(torch.from_numpy(part.copy()).reshape(tensor.shape))
            position += tensor.numel()


def darknet_values(network: YoloV4) -> int:
    """How many values a file of this network holds."""
    return sum(tensor.numel() for tensor in _tensors(network))


def values_in(file: Path) -> int:
    """How many values a file holds. Raises ``ValueError`` where it is no Darknet file or ends within a value."""
    return len(_values(file))


def _values(file: Path) -> NDArray[np.float32]:
    content = file.read_bytes()
    try:
        major, minor, _ = struct.unpack_from("<3i", content)
    except struct.error as error:
        raise ValueError(f"{file} is too short for Darknet weights") from error
    header = 20 if (major, minor) >= _WIDE_COUNT_FROM else 16
    if len(content) <= header:
        raise ValueError(f"{file} is too short for Darknet weights")
    if (len(content) - header) % VALUE_BYTES:
        raise ValueError(f"{file} ends within a value: it is cut off, or no Darknet weights")
    return np.frombuffer(content, "<f4", offset=header)


def save_darknet(network: YoloV4, file: Path, *, seen: int = 0) -> None:
    """Write ``network``; ``seen``: pictures it was trained on."""
    parts: list[NDArray[np.float32]] = [
        tensor.detach().cpu().numpy().astype("<f4").ravel() for tensor in _tensors(network)
    ]
    file.write_bytes(struct.pack("<3iq", *VERSION, seen) + np.concatenate(parts).tobytes())


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    """In the order of the file."""
    for module in _layers(network):
        if isinstance(module, Convolution):
            normal = module.normalisation
            if normal.running_mean is None or normal.running_var is None:
                raise ValueError("a normalisation without statistics")
            yield from (normal.bias, normal.weight, normal.running_mean, normal.running_var)
            yield module.convolution.weight
        elif isinstance(module, nn.Conv2d):
            if module.bias is None:
                raise ValueError("a head without bias")
            yield from (module.bias, module.weight)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """Convolutions in the order of registration, each once."""
    for child in module.children():
        if isinstance(child, Convolution | nn.Conv2d):
            yield child
        else:
            yield from _layers(child)
