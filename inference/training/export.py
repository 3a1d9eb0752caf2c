"""From a trained U-Net to the graph that engines serve: grey levels in, labels out, everything else inside.

Opset 20 by torch's dynamo exporter, dynamic batch, no data-dependent operator. The threshold is part of the graph: it
is chosen on validation pictures once and for all, not at run time.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from inference.model import ModelSpec
from inference.training.trainer import GREY_LEVELS

OPSET = 20


class ServedUnet(nn.Module):
    """N×1×256×256 float16 grey levels → N×256×256 uint8 labels 0/1."""

    def __init__(self, network: nn.Module, threshold: float) -> None:
        super().__init__()
        self.network = network
        self.logit = float(torch.logit(torch.tensor(threshold)))

    def forward(self, slices: Tensor) -> Tensor:
        """Labels by comparing logits with the threshold's: no sigmoid needed."""
        logits = self.network(slices.to(torch.float32) / GREY_LEVELS)
        labels: Tensor = (logits[:, 0] > self.logit).to(torch.uint8)
        return labels


def export_onnx(network: nn.Module, *, threshold: float, spec: ModelSpec, target: Path) -> ServedUnet:
    """Write the graph and return the torch module that it must equal."""
    served = ServedUnet(network.to("cpu").float(), threshold).eval()
    (given,), (made,) = spec.inputs, spec.outputs
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        served,
        (torch.zeros(2, *given.shape, dtype=torch.float16),),
        str(target),
        dynamo=True,
        opset_version=OPSET,
        input_names=[given.name],
        output_names=[made.name],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
        external_data=False,
        verbose=False,
    )
    return served
