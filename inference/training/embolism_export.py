"""From trained embolism models to the graphs that engines serve: grey levels in, probabilities or boxes out.

Opset 20, dynamic batch, no data-dependent shape; decoding and suppression are inside, in float32.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from inference.model import ModelSpec
from inference.models.pe_detector import BOXES
from inference.networks.yolov4_boxes import Anchors, decode, suppressed
from inference.training.export import exported, save_graph, store_in_half_precision

CANDIDATES, OVERLAP = 96, 0.45
"""Of the suppression: boxes looked at, largest overlap of two that are kept."""


class ServedDetector(nn.Module):
    """N×3×416×416 uint8 → N×``BOXES``×5 float32."""

    def __init__(self, network: nn.Module, anchors: Anchors) -> None:
        super().__init__()
        self.network, self.anchors = network, anchors

    def forward(self, slices: Tensor) -> Tensor:
        """Boxes by falling score."""
        boxes, odds = decode(self.network(slices.to(torch.float32) / 255.0), self.anchors)
        scores = torch.sigmoid(odds[:, :, 0]) * torch.sigmoid(odds[:, :, 1])
        return suppressed(boxes, scores, candidates=CANDIDATES, kept=BOXES, overlap=OVERLAP)


class ServedClassifier(nn.Module):
    """N×3×224×224 uint8 → N×2 float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, slices: Tensor) -> Tensor:
        """Softmax."""
        return torch.softmax(self.network(slices.to(torch.float32) / 127.5 - 1.0), dim=1)


def export_embolism_model(served: nn.Module, *, spec: ModelSpec, target: Path) -> None:
    """Write the graph."""
    model = exported(served, spec)
    store_in_half_precision(model)
    save_graph(model, target)
