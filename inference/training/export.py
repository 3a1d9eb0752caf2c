"""From trained U-Nets to the graph that engines serve: grey levels (and lungs) in, labels out, everything else inside.

Opset 20 by torch's dynamo exporter, dynamic batch, no data-dependent operator. The threshold is part of the graph: it
is chosen on validation pictures once and for all, not at run time. The tensor before the threshold is called
``probability``, so that evaluation can look at it.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inference.model import ModelSpec
from inference.training.batches import GREY_LEVELS
from inference.training.recipes.base import Recipe

OPSET = 20
PROBABILITY = "probability"


class ServedUnet(nn.Module):
    """N×1×256×256 float16 grey levels, and N×256×256 uint8 lungs where a network wants them → N×256×256 uint8 labels.

    Of several networks the mean of their probabilities counts.
    """

    def __init__(self, members: Sequence[tuple[Recipe, nn.Module]], threshold: float) -> None:
        super().__init__()
        self.recipes = [recipe for recipe, _ in members]
        self.networks = nn.ModuleList(network for _, network in members)
        self.threshold = threshold

    def forward(self, slices: Tensor, lungs: Tensor | None = None) -> Tensor:
        """Labels 0 and 1."""
        labels: Tensor = (self.probability(slices, lungs) > self.threshold).to(torch.uint8)
        return labels

    def probability(self, slices: Tensor, lungs: Tensor | None) -> Tensor:
        """N×256×256, float32."""
        grey = slices.to(torch.float32) / GREY_LEVELS
        found = [
            self._member(recipe, network, grey, lungs)
            for recipe, network in zip(self.recipes, self.networks, strict=True)
        ]
        mean: Tensor = sum(found[1:], start=found[0]) / len(found) if len(found) > 1 else found[0]
        return mean[:, 0]

    @staticmethod
    def _member(recipe: Recipe, network: nn.Module, grey: Tensor, lungs: Tensor | None) -> Tensor:
        size = list(grey.shape[-2:])
        inputs = grey
        if recipe.lung_channel:
            if lungs is None:
                raise ValueError(f"{recipe.name} needs the lungs as its second input")
            inputs = torch.cat([grey, lungs.to(torch.float32)[:, None]], dim=1)
        if recipe.size_px == size[0]:
            return torch.sigmoid(network(inputs))
        enlarged = F.interpolate(inputs, size=[recipe.size_px] * 2, mode="nearest")
        return F.interpolate(torch.sigmoid(network(enlarged)), size=size, mode="bilinear", align_corners=False)


def export_onnx(
    members: Sequence[tuple[Recipe, nn.Module]], *, threshold: float, spec: ModelSpec, target: Path
) -> ServedUnet:
    """Write the graph and return the torch module that it must equal."""
    served = ServedUnet([(recipe, network.to("cpu").float()) for recipe, network in members], threshold).eval()
    (made,) = spec.outputs
    target.parent.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch", min=1, max=1024)
    torch.onnx.export(
        served,
        tuple(torch.zeros(2, *given.shape, dtype=getattr(torch, given.dtype)) for given in spec.inputs),
        str(target),
        dynamo=True,
        opset_version=OPSET,
        input_names=[given.name for given in spec.inputs],
        output_names=[made.name],
        dynamic_shapes=tuple({0: batch} for _ in spec.inputs),
        external_data=False,
        verbose=False,
    )
    _name_probability(target)
    return served


def _name_probability(target: Path) -> None:
    """Give what the threshold is compared with its name."""
    model = onnx.load(target)
    (comparison,) = (node for node in model.graph.node if node.op_type == "Greater")
    old = comparison.input[0]
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = PROBABILITY
    for value in model.graph.value_info:
        if value.name == old:
            value.name = PROBABILITY
    onnx.checker.check_model(model)
    onnx.save(model, target)
