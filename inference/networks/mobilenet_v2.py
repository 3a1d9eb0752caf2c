"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), width 1.0, with the head of Kiourt et al. 2021.

Batch normalisation is folded into the convolutions, as in the quantised ImageNet weights that training starts from:
there is nothing left of it to restore. ``normalised`` puts it back, for training from random weights.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from inference.networks.slice_classifier import DROPOUT, HIDDEN, SliceClassifier

STEM, LAST = 32, 1280
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks, stride of the first block."""


class Convolution(nn.Module):
    """Convolution, padded as TensorFlow does ("same"), with bias or ``normalised``, and ReLU6 where ``active``."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
        normalised: bool = False,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, groups=groups, bias=not normalised)
        self.normalisation = nn.BatchNorm2d(channels_out) if normalised else nn.Identity()
        self.active = active
        # With an even size and stride 2, "same" adds one row and column at the far side only.
        self.padding = (0, 0, 0, 0) if kernel == 1 else (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)

    def forward(self, features: Tensor) -> Tensor:
        """N×C×H×W → N×D×H/stride×W/stride."""
        features = self.normalisation(self.convolution(F.pad(features, self.padding)))
        return F.relu6(features) if self.active else features


class InvertedResidual(nn.Module):
    """Widened, filtered channel by channel, narrowed; added to the input where shapes allow."""

    def __init__(
        self, channels_in: int, channels_out: int, *, expansion: int, stride: int, normalised: bool = False
    ) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.adds = stride == 1 and channels_in == channels_out
        layers = [] if expansion == 1 else [Convolution(channels_in, wide, 1, normalised=normalised)]
        layers.append(Convolution(wide, wide, 3, stride=stride, groups=wide, normalised=normalised))
        layers.append(Convolution(wide, channels_out, 1, active=False, normalised=normalised))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """N×C×H×W → N×D×H/stride×W/stride."""
        result: Tensor = self.layers(features)
        return features + result if self.adds else result


def mobilenet_v2_features(*, normalised: bool) -> nn.Sequential:
    """N×3×H×W → N×``LAST``×H/32×W/32."""
    blocks: list[nn.Module] = [Convolution(3, STEM, 3, stride=2, normalised=normalised)]
    channels = STEM
    for expansion, after, count, first_stride in STAGES:
        for index in range(count):
            stride = first_stride if index == 0 else 1
            blocks.append(InvertedResidual(channels, after, expansion=expansion, stride=stride, normalised=normalised))
            channels = after
    blocks.append(Convolution(channels, LAST, 1, normalised=normalised))
    return nn.Sequential(*blocks)


class MobileNetV2(SliceClassifier):
    """The served classifier: features without normalisation, and the head."""

    def __init__(self, *, classes: int = 2, hidden: int = HIDDEN, dropout: float = DROPOUT) -> None:
        super().__init__(mobilenet_v2_features(normalised=False), LAST, classes=classes, hidden=hidden, dropout=dropout)
