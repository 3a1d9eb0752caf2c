"""2D U-Net (Ronneberger, Fischer, Brox: U-Net, MICCAI 2015), with batch normalisation and padded convolutions.

The papers of this project all use it in some size; ``widths`` sets the size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DoubleConvolution(nn.Module):
    """Twice: 3×3 convolution, batch normalisation, ReLU. N×C×H×W → N×D×H×W."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Same height and width as the input."""
        result: Tensor = self.layers(features)
        return result


class UNet2d(nn.Module):
    """Encoder and decoder with skip connections; every level halves height and width.

    ``widths``: channels of each level, finest first. Input N×``channels_in``×H×W, H and W divisible by
    2^(levels − 1); output: logits N×1×H×W. ``dropout``: share of channels zeroed after the coarsest level.
    """

    def __init__(self, widths: tuple[int, ...], *, channels_in: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.widths = widths
        inputs = (channels_in, *widths[:-1])
        self.encoder = nn.ModuleList(
            DoubleConvolution(before, width) for before, width in zip(inputs, widths, strict=True)
        )
        self.decoder = nn.ModuleList(
            DoubleConvolution(coarse + fine, fine) for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, slices: Tensor) -> Tensor:
        """Logits of the foreground."""
        features, skipped = slices, []
        for level, block in enumerate(self.encoder):
            if level > 0:
                skipped.append(features)
                features = F.max_pool2d(features, 2)
            features = block(features)
        features = self.dropout(features)
        for block, skip in zip(self.decoder, reversed(skipped), strict=True):
            features = F.interpolate(features, scale_factor=2.0, mode="nearest")
            features = block(torch.cat([features, skip], dim=1))
        logits: Tensor = self.head(features)
        return logits
