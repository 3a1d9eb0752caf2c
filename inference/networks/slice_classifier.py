"""The head of Kiourt et al. 2021 on any backbone: a dense layer of 512, dropout of 0.4, the classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN = 512
DROPOUT = 0.4


class SliceClassifier(nn.Module):
    """Log odds N×``classes`` of pictures N×3×H×W scaled to −1…1, H and W divisible by 32.

    ``features``: N×3×H×W → N×``channels``×H/32×W/32.
    """

    def __init__(
        self, features: nn.Module, channels: int, *, classes: int = 2, hidden: int = HIDDEN, dropout: float = DROPOUT
    ) -> None:
        super().__init__()
        self.features = features
        self.cells = nn.Conv2d(channels, 1, 1)
        self.hidden = nn.Linear(2 * channels, hidden)
        self.dropout = nn.Dropout(dropout)
        self.predict = nn.Linear(hidden, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Before the softmax."""
        return self.classified(self.features(pictures))

    def classified(self, features: Tensor) -> Tensor:
        """From the last features N×C×H/32×W/32. Mean and maximum: a clot fills one cell of forty-nine."""
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        result: Tensor = self.predict(self.dropout(F.relu(self.hidden(pooled))))
        return result

    def where(self, features: Tensor) -> Tensor:
        """Log odds N×H/32×W/32 of each cell, for training alone: it tells the features what to look for."""
        result: Tensor = self.cells(features)[:, 0]
        return result
