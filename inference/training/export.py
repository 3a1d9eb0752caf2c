"""From served torch modules to the graphs that engines serve; and the module of the U-Nets.

Opset 20 by torch's dynamo exporter, dynamic batch, no data-dependent operator. U-Nets take grey levels (and lungs) and
give labels, everything else is inside: the threshold too, which is chosen on validation pictures once and for all, not
at run time. The tensor before it is called ``probability``, so that evaluation can look at it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from inference.model import ModelSpec
from inference.training.batches import GREY_LEVELS
from inference.training.recipes.base import Recipe

OPSET = 20
PROBABILITY = "probability"
SMALLEST_HALVED = 1024
"""Numbers in a tensor of weights that is worth storing in half precision."""
HALVED = "_half"
"""Ends the name of such a tensor."""
DATA_DEPENDENT = frozenset(
    ("NonZero", "NonMaxSuppression", "Compress", "Unique", "Loop", "If", "Scan", "SequenceAt", "SplitToSequence")
)
"""Operators whose output shapes or whose course hang on the data: no plan with a fixed memory can be built for them."""


class ServedUnet(nn.Module):
    """N×1×256×256 float16 grey levels, and N×256×256 uint8 lungs where a network wants them → N×256×256 uint8 labels.

    Of several networks the mean of their log odds counts: one that is sure outweighs one that is not.
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
            self._log_odds(recipe, network, grey, lungs)
            for recipe, network in zip(self.recipes, self.networks, strict=True)
        ]
        mean: Tensor = sum(found[1:], start=found[0]) / len(found) if len(found) > 1 else found[0]
        return torch.sigmoid(mean[:, 0])

    @staticmethod
    def _log_odds(recipe: Recipe, network: nn.Module, grey: Tensor, lungs: Tensor | None) -> Tensor:
        size = list(grey.shape[-2:])
        inputs = grey
        if recipe.lung_channel:
            if lungs is None:
                raise ValueError(f"{recipe.name} needs the lungs as its second input")
            inputs = torch.cat([grey, lungs.to(torch.float32)[:, None]], dim=1)
        if recipe.size_px != size[0]:
            inputs = F.interpolate(inputs, size=[recipe.size_px] * 2, mode="nearest")
        log_odds: Tensor = network(inputs)
        if recipe.size_px != size[0]:
            log_odds = F.interpolate(log_odds, size=size, mode="bilinear", align_corners=False)
        return log_odds


def export_onnx(
    members: Sequence[tuple[Recipe, nn.Module]], *, threshold: float, spec: ModelSpec, target: Path
) -> ServedUnet:
    """Write the graph and return the torch module that it must equal."""
    served = ServedUnet([(recipe, network.to("cpu").float()) for recipe, network in members], threshold).eval()
    model = exported(served, spec)
    store_in_half_precision(model)
    save_graph(model, target)
    return served


def exported(served: nn.Module, spec: ModelSpec) -> onnx.ModelProto:
    """The graph of a served module, in the precision of its parts, with the tensors that ``spec`` names.

    Raises ``ValueError`` where the exporter made an operator of ``DATA_DEPENDENT``.
    """
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.onnx.export(
        served.eval(),
        tuple(torch.zeros(2, *given.shape, dtype=getattr(torch, given.dtype)) for given in spec.inputs),
        dynamo=True,
        opset_version=OPSET,
        input_names=[given.name for given in spec.inputs],
        output_names=[made.name for made in spec.outputs],
        dynamic_shapes=tuple({0: batch} for _ in spec.inputs),
        verbose=False,
    )
    if program is None:
        raise ValueError(f"{spec.name}: torch made no graph")
    model: onnx.ModelProto = onnx.load_from_string(program.model_proto.SerializeToString())
    found = sorted({node.op_type for node in model.graph.node} & DATA_DEPENDENT)
    if found:
        raise ValueError(f"{spec.name}: the graph hangs on its data ({', '.join(found)}), which TensorRT cannot plan")
    if isinstance(served, ServedUnet):
        _name_probability(model)
    return model


def save_graph(model: onnx.ModelProto, target: Path) -> None:
    """Write a graph that ONNX's own checker takes."""
    onnx.checker.check_model(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, target)


def _name_probability(model: onnx.ModelProto) -> None:
    """Give what the threshold is compared with its name."""
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


def store_in_half_precision(model: onnx.ModelProto) -> None:
    """Large weights as float16 and a cast to float32, which every engine does once: half the file.

    Their rounding is sixteen times finer than that of the bfloat16 that most engines compute in.
    """
    casts = []
    for weights in model.graph.initializer:
        if weights.data_type != onnx.TensorProto.FLOAT or np.prod(weights.dims) < SMALLEST_HALVED:
            continue
        name = weights.name
        halved = numpy_helper.to_array(weights).astype(np.float16)
        weights.CopyFrom(numpy_helper.from_array(halved, name=f"{name}{HALVED}"))
        casts.append(helper.make_node("Cast", [weights.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)
