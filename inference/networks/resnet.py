"""ResNet50 (He et al. 2015, arXiv 1512.03385): residual blocks of three convolutions.

The stride of a stage lies in the 3×3 convolution of its first block, as the implementations that are in use have it
("version 1.5"); the paper has it in the 1×1 before.
"""

from torch import Tensor, nn
from torch.nn import functional as F

STEM = 64
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Inner channels, blocks, stride of the first block."""
EXPANSION = 4
LAST = 2048


def convolution(channels_in: int, channels_out: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    """Convolution and batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(channels_out)
    )


class Bottleneck(nn.Module):
    """Narrowed, filtered, widened; added to the input, which is projected where shapes differ."""

    def __init__(self, channels_in: int, inner: int, *, stride: int) -> None:
        super().__init__()
        channels_out = inner * EXPANSION
        self.narrow = convolution(channels_in, inner, 1)
        self.filter = convolution(inner, inner, 3, stride=stride)
        self.widen = convolution(inner, channels_out, 1)
        same = stride == 1 and channels_in == channels_out
        self.past = nn.Identity() if same else convolution(channels_in, channels_out, 1, stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        """N×C×H×W → N×4·inner×H/stride×W/stride."""
        through = self.widen(F.relu(self.filter(F.relu(self.narrow(features)))))
        return F.relu(self.past(features) + through)


def resnet50_features() -> nn.Sequential:
    """N×3×H×W → N×``LAST``×H/32×W/32."""
    layers: list[nn.Module] = [convolution(3, STEM, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = STEM
    for inner, count, stride in STAGES:
        for index in range(count):
            layers.append(Bottleneck(channels, inner, stride=stride if index == 0 else 1))
            channels = inner * EXPANSION
    return nn.Sequential(*layers)
