"""DenseNet121 (Huang et al. 2016, arXiv 1608.06993): every layer sees all layers of its block before it."""

import torch
from torch import Tensor, nn

STEM = 64
GROWTH = 32
BOTTLENECK = 4 * GROWTH
"""Channels of the 1×1 convolution before each 3×3."""
BLOCKS = (6, 12, 24, 16)
"""Layers of the four blocks; between blocks channels and sides are halved."""
LAST = 1024


def activated(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Batch normalisation and ReLU before the convolution."""
    return nn.Sequential(
        nn.BatchNorm2d(channels_in),
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
    )


class DenseLayer(nn.Module):
    """Adds ``GROWTH`` channels to those that it was given."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(activated(channels_in, BOTTLENECK, 1), activated(BOTTLENECK, GROWTH, 3))

    def forward(self, features: Tensor) -> Tensor:
        """N×C×H×W → N×(C + GROWTH)×H×W."""
        return torch.cat([features, self.layers(features)], dim=1)


def densenet121_features() -> nn.Sequential:
    """N×3×H×W → N×``LAST``×H/32×W/32."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, STEM, 7, 2, 3, bias=False),
        nn.BatchNorm2d(STEM),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = STEM
    for number, count in enumerate(BLOCKS):
        if number:
            layers += [activated(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
        for _ in range(count):
            layers.append(DenseLayer(channels))
            channels += GROWTH
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU())
