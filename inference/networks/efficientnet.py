"""EfficientNet-B0 (Tan, Le 2019, arXiv 1905.11946): inverted residuals whose channels are weighed by what they hold.

Blocks are never left out at random in training (the authors' "drop connect"): that is for trainings of many epochs.
"""

from torch import Tensor, nn
from torch.nn import functional as F

STEM, LAST = 32, 1280
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Expansion, kernel, stride of the first block, channels, blocks."""
SQUEEZE = 4
"""The weighing looks at a block's input channels divided by this."""


class Convolution(nn.Sequential):
    """Convolution, batch normalisation and, where ``active``, SiLU."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.SiLU() if active else nn.Identity(),
        )


class Weighing(nn.Module):
    """Squeeze and excitation (Hu et al. 2017): each channel times a number that the means of all channels give."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, inner, 1)
        self.excite = nn.Conv2d(inner, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Same shape."""
        means = features.mean(dim=(2, 3), keepdim=True)
        weights: Tensor = self.excite(F.silu(self.squeeze(means)))
        return features * weights.sigmoid()


class InvertedResidual(nn.Module):
    """Widened, filtered channel by channel, weighed, narrowed; added to the input where shapes allow."""

    def __init__(self, channels_in: int, channels_out: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.adds = stride == 1 and channels_in == channels_out
        self.layers = nn.Sequential(
            nn.Identity() if expansion == 1 else Convolution(channels_in, wide, 1),
            Convolution(wide, wide, kernel, stride=stride, groups=wide),
            Weighing(wide, channels_in // SQUEEZE),
            Convolution(wide, channels_out, 1, active=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """N×C×H×W → N×D×H/stride×W/stride."""
        result: Tensor = self.layers(features)
        return features + result if self.adds else result


def efficientnet_b0_features() -> nn.Sequential:
    """N×3×H×W → N×``LAST``×H/32×W/32."""
    layers: list[nn.Module] = [Convolution(3, STEM, 3, stride=2)]
    channels = STEM
    for expansion, kernel, first_stride, after, count in STAGES:
        for index in range(count):
            stride = first_stride if index == 0 else 1
            layers.append(InvertedResidual(channels, after, expansion=expansion, kernel=kernel, stride=stride))
            channels = after
    return nn.Sequential(*layers, Convolution(channels, LAST, 1))
