"""YOLOv4 (Bochkovskiy, Wang, Liao 2020, arXiv 2004.10934): CSPDarknet53, spatial pyramid pooling, path aggregation.

Convolutions are registered in the order of the authors' ``yolov4.cfg``, so that weights of Darknet can be read one
after the other (``inference.networks.darknet_weights``). ``width`` and ``depth`` scale channels and residual blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = (64, 128, 256, 512, 1024)
BLOCKS = (1, 2, 8, 8, 4)
"""Residual blocks of the five stages."""
POOLS = (13, 9, 5)
"""Windows of the spatial pyramid pooling, in the order they are joined."""
STRIDES = (8, 16, 32)
"""Of the three heads."""
ANCHORS_A_HEAD = 3
LEAK = 0.1
CHANNEL_MULTIPLE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Multipliers; 1 and 1 are the authors' network."""

    width: float = 1.0
    depth: float = 1.0

    def channels(self, full: int) -> int:
        """A multiple of ``CHANNEL_MULTIPLE``, at least one."""
        return max(CHANNEL_MULTIPLE, round(full * self.width / CHANNEL_MULTIPLE) * CHANNEL_MULTIPLE)

    def blocks(self, full: int) -> int:
        """At least one."""
        return max(1, round(full * self.depth))


class Convolution(nn.Module):
    """Convolution, batch normalisation, Mish (backbone) or leaky ReLU (neck and heads)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, mish: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
        self.normalisation = nn.BatchNorm2d(channels_out)
        self.mish = mish

    def forward(self, features: Tensor) -> Tensor:
        """N×C×H×W → N×D×H/stride×W/stride."""
        features = self.normalisation(self.convolution(features))
        return F.mish(features) if self.mish else F.leaky_relu(features, LEAK)


class Residual(nn.Module):
    """1×1 and 3×3 convolution, added to their input."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.reduce = Convolution(channels, inner, 1, mish=True)
        self.widen = Convolution(inner, channels, 3, mish=True)

    def forward(self, features: Tensor) -> Tensor:
        """Same shape."""
        result: Tensor = features + self.widen(self.reduce(features))
        return result


class CrossStage(nn.Module):
    """Halves the picture; half of the channels goes past the residual blocks. The first stage keeps all of them."""

    def __init__(self, channels_in: int, channels: int, blocks: int, *, first: bool) -> None:
        super().__init__()
        half = channels if first else channels // 2
        self.halve = Convolution(channels_in, channels, 3, stride=2, mish=True)
        self.past = Convolution(channels, half, 1, mish=True)
        self.through = Convolution(channels, half, 1, mish=True)
        self.blocks = nn.Sequential(*(Residual(half, half // 2 if first else half) for _ in range(blocks)))
        self.after = Convolution(half, half, 1, mish=True)
        self.join = Convolution(2 * half, channels, 1, mish=True)

    def forward(self, features: Tensor) -> Tensor:
        """N×C×H×W → N×D×H/2×W/2."""
        features = self.halve(features)
        past = self.past(features)
        through = self.after(self.blocks(self.through(features)))
        joined: Tensor = self.join(torch.cat([through, past], dim=1))
        return joined


def alternating(channels_in: int, channels: int, count: int) -> nn.Sequential:
    """1×1 to ``channels`` and 3×3 to twice as many, in turn; an odd ``count`` ends with ``channels``."""
    layers, now = [], channels_in
    for index in range(count):
        after, kernel = (channels, 1) if index % 2 == 0 else (2 * channels, 3)
        layers.append(Convolution(now, after, kernel, mish=False))
        now = after
    return nn.Sequential(*layers)


class Lateral(nn.Module):
    """Coarse features enlarged and joined with finer ones of the backbone."""

    def __init__(self, coarse: int, fine: int, channels: int) -> None:
        super().__init__()
        self.reduce = Convolution(coarse, channels, 1, mish=False)
        self.beside = Convolution(fine, channels, 1, mish=False)
        self.mix = alternating(2 * channels, channels, 5)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Of the size of ``fine``."""
        enlarged = F.interpolate(self.reduce(coarse), scale_factor=2.0, mode="nearest")
        mixed: Tensor = self.mix(torch.cat([self.beside(fine), enlarged], dim=1))
        return mixed


class Head(nn.Module):
    """3×3 convolution and the raw predictions."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.widen = Convolution(channels, 2 * channels, 3, mish=False)
        self.predict = nn.Conv2d(2 * channels, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """N×C×H×W → N×outputs×H×W."""
        result: Tensor = self.predict(self.widen(features))
        return result


class YoloV4(nn.Module):
    """Raw predictions at three scales.

    Input N×``channels_in``×H×W, H and W divisible by 32. Output: for strides 8, 16, 32, N×(3·(5 + classes))×H/s×W/s; of
    each anchor x, y, width, height, objectness, classes, before any activation.
    """

    def __init__(self, size: Size, *, channels_in: int = 3, classes: int = 1) -> None:
        super().__init__()
        stem = size.channels(32)
        stages = [size.channels(full) for full in CHANNELS]
        self.stem = Convolution(channels_in, stem, 3, mish=True)
        self.stages = nn.ModuleList(
            CrossStage(before, channels, size.blocks(blocks), first=index == 0)
            for index, (before, channels, blocks) in enumerate(zip((stem, *stages[:-1]), stages, BLOCKS, strict=True))
        )
        small, middle, large = stages[1], stages[2], stages[3]
        outputs = ANCHORS_A_HEAD * (5 + classes)
        self.before_pools = alternating(stages[4], large, 3)
        self.after_pools = alternating(large * (len(POOLS) + 1), large, 3)
        self.lateral_middle = Lateral(large, stages[3], middle)
        self.lateral_small = Lateral(middle, stages[2], small)
        self.head_small = Head(small, outputs)
        self.to_middle = Convolution(small, middle, 3, stride=2, mish=False)
        self.mix_middle = alternating(2 * middle, middle, 5)
        self.head_middle = Head(middle, outputs)
        self.to_large = Convolution(middle, large, 3, stride=2, mish=False)
        self.mix_large = alternating(2 * large, large, 5)
        self.head_large = Head(large, outputs)

    def forward(self, slices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predictions of the fine, the middle and the coarse head."""
        features: list[Tensor] = []
        now = self.stem(slices)
        for stage in self.stages:
            now = stage(now)
            features.append(now)
        now = self.before_pools(now)
        now = self.after_pools(torch.cat([*_pooled(now, POOLS), now], dim=1))
        middle = self.lateral_middle(now, features[3])
        small = self.lateral_small(middle, features[2])
        middle = self.mix_middle(torch.cat([self.to_middle(small), middle], dim=1))
        large = self.mix_large(torch.cat([self.to_large(middle), now], dim=1))
        return self.head_small(small), self.head_middle(middle), self.head_large(large)


def _pooled(features: Tensor, windows: Sequence[int]) -> list[Tensor]:
    return [F.max_pool2d(features, window, 1, window // 2) for window in windows]
