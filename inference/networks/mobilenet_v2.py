"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), width 1.0, with the head of Kiourt et al. 2021.

Batch normalisation is folded into the convolutions, as in the quantised ImageNet weights that training starts from:
there is nothing left of it to restore.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEM, LAST = 32, 1280
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks, stride of the first block."""
HIDDEN = 512
DROPOUT = 0.4


class Convolution(nn.Module):
    """Convolution with bias, padded as TensorFlow does ("same"), and ReLU6 where ``active``."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, groups=groups)
        self.active = active
        # With an even size and stride 2, "same" adds one row and column at the far side only.
        self.padding = (0, 0, 0, 0) if kernel == 1 else (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)

    def forward(self, features: Tensor) -> Tensor:
        """N×C×H×W → N×D×H/stride×W/stride."""
        features = self.convolution(F.pad(features, self.padding))
        return F.relu6(features) if self.active else features


class InvertedResidual(nn.Module):
    """Widened, filtered channel by channel, narrowed; added to the input where shapes allow."""

    def __init__(self, channels_in: int, channels_out: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.adds = stride == 1 and channels_in == channels_out
        layers = [] if expansion == 1 else [Convolution(channels_in, wide, 1)]
        layers.append(Convolution(wide, wide, 3, stride=stride, groups=wide))
        layers.append(Convolution(wide, channels_out, 1, active=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """N×C×H×W → N×D×H/stride×W/stride."""
        result: Tensor = self.layers(features)
        return features + result if self.adds else result


class MobileNetV2(nn.Module):
    """Log odds N×``classes`` of pictures N×3×H×W scaled to −1…1, H and W divisible by 32."""

    def __init__(self, *, classes: int = 2, hidden: int = HIDDEN, dropout: float = DROPOUT) -> None:
        super().__init__()
        blocks: list[nn.Module] = [Convolution(3, STEM, 3, stride=2)]
        channels = STEM
        for expansion, after, count, stride in STAGES:
            for index in range(count):
                blocks.append(
                    InvertedResidual(channels, after, expansion=expansion, stride=stride if index == 0 else 1)
                )
                channels = after
        blocks.append(Convolution(channels, LAST, 1))
        self.features = nn.Sequential(*blocks)
        self.cells = nn.Conv2d(LAST, 1, 1)
        self.hidden = nn.Linear(2 * LAST, hidden)
        self.dropout = nn.Dropout(dropout)
        self.predict = nn.Linear(hidden, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Before the softmax."""
        return self.classified(self.features(pictures))

    def classified(self, features: Tensor) -> Tensor:
        """From the last features N×1280×H/32×W/32. Mean and maximum: a clot fills one cell of forty-nine."""
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        result: Tensor = self.predict(self.dropout(F.relu(self.hidden(pooled))))
        return result

    def where(self, features: Tensor) -> Tensor:
        """Log odds N×H/32×W/32 of each cell, for training alone: it tells the features what to look for."""
        result: Tensor = self.cells(features)[:, 0]
        return result
