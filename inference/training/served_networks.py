"""The networks behind the served graphs, in torch: built by their recipes, filled from a graph or from a training.

The repository ships graphs alone, no checkpoints. A graph carries its network's weights under the names that they have
in torch, with batch normalisation folded into the convolutions; so the network is found again in it, to be run in
float32 (what every engine is held against) or exported in another precision. Half-precision storage of large weights is
part of the shipped model: what is rebuilt has the rounded weights, as every engine has.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from inference.engines.base import EngineError
from inference.model import ModelSpec, Tensors
from inference.models import PeClassifier, PeDetector
from inference.networks.mobilenet_v2 import MobileNetV2
from inference.networks.unet import UNet2d
from inference.networks.yolov4 import YoloV4
from inference.training.embolism_export import ServedClassifier, ServedDetector
from inference.training.export import HALVED, ServedUnet
from inference.training.foreign_weights import detector_size
from inference.training.recipes.pe_detector import ANCHORS, PE_DETECTOR
from inference.training.room import SHIPPED

UNSERVED = ("network.cells",)
"""Layers that only training uses: no graph has them."""
AT_ONCE = 4
"""Slices."""

Weights = Mapping[str, NDArray[np.float32]]


def rebuilt(spec: ModelSpec, graph: bytes) -> nn.Module:
    """The served module of a shipped graph (inputs → outputs of ``spec``), for evaluation, in float32.

    Raises ``ValueError`` where the graph is not of the network that the recipes of this version build.
    """
    model = onnx.load_from_string(graph)
    stored = {
        tensor.name.removesuffix(HALVED): numpy_helper.to_array(tensor).astype(np.float32)
        for tensor in model.graph.initializer
    }
    served = folded(_blueprint(spec.name, threshold=_threshold(model, stored)))
    _fill(served, {name: array for name, array in stored.items() if name.startswith("network")})
    return served


def trained(spec: ModelSpec, checkpoints: Sequence[Path], *, threshold: float | None) -> nn.Module:
    """The served module of a training's ``best.pt`` or ``last.pt``, one file a network, in the order of the recipes.

    ``threshold``: of U-Nets, as it was chosen on validation pictures; others have none. Raises
    ``ValueError`` where a file is not a checkpoint of this network.
    """
    served = _blueprint(spec.name, threshold=threshold or 0.0)
    if isinstance(served, ServedUnet) is (threshold is None):
        raise ValueError(f"{spec.name}: a threshold goes with the checkpoints of U-Nets, and with those alone")
    networks = list(served.networks) if isinstance(served, ServedUnet) else [served.get_submodule("network")]
    if len(checkpoints) != len(networks):
        raise ValueError(f"{spec.name} has {len(networks)} networks: give as many checkpoints, not {len(checkpoints)}")
    for network, file in zip(networks, checkpoints, strict=True):
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            weights = content.get("best_weights", content)
            if isinstance(served, ServedDetector):  # imported weights may be of the authors' size
                served.network = network = YoloV4(detector_size(weights))
            network.load_state_dict(weights)
        except (OSError, pickle.UnpicklingError, RuntimeError, AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{file} is no checkpoint of {spec.name} ({str(error).splitlines()[0]})") from error
    return folded(served)


def folded(served: nn.Module) -> nn.Module:
    """The same for evaluation, its batch normalisations folded into the convolutions before them; changed in place."""
    served.eval()
    for parent in list(served.modules()):
        before: tuple[str, nn.Module] | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and before is not None and isinstance(before[1], nn.Conv2d):
                setattr(parent, before[0], fuse_conv_bn_eval(before[1], child))
                setattr(parent, name, nn.Identity())
            before = name, child
    return served


class TorchReference:
    """Runs the shipped graphs of ``repository`` as torch networks in float32: what engines are held against."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._served: dict[str, nn.Module] = {}

    def run(self, spec: ModelSpec, inputs: Tensors) -> Tensors:
        """Outputs for all rows, as ``Engine.run``. Raises ``EngineError`` where there is no such network."""
        if spec.name not in self._served:
            path = self._repository / spec.name / spec.version / "model.onnx"
            try:
                self._served[spec.name] = rebuilt(spec, path.read_bytes())
            except (OSError, ValueError) as error:
                raise EngineError(f"model {spec.name} cannot be run in torch: {error}", transient=False) from error
        return run_served(self._served[spec.name], spec, inputs)


@torch.inference_mode()
def run_served(served: nn.Module, spec: ModelSpec, inputs: Tensors) -> Tensors:
    """Outputs of a served module for all rows of ``inputs``."""
    (made,) = spec.outputs
    given = [torch.from_numpy(np.ascontiguousarray(inputs[one.name])) for one in spec.inputs]
    parts = zip(*(torch.split(tensor, AT_ONCE) for tensor in given), strict=True)
    return {made.name: np.concatenate([served(*part).numpy() for part in parts])}


def _blueprint(name: str, *, threshold: float) -> nn.Module:
    """The served module of that name with weights that mean nothing. Raises ``ValueError`` for an unknown name."""
    builders: dict[str, Callable[[], nn.Module]] = {
        model.spec.name: lambda recipes=recipes: ServedUnet(  # type: ignore[misc]  # bound now, not at the call
            [(one, UNet2d(one.widths, channels_in=one.channels, dropout=one.dropout)) for one in recipes], threshold
        )
        for model, recipes in SHIPPED
    }
    builders[PeDetector().spec.name] = lambda: ServedDetector(YoloV4(PE_DETECTOR.size), ANCHORS)
    builders[PeClassifier().spec.name] = lambda: ServedClassifier(MobileNetV2())
    if name not in builders:
        raise ValueError(f"no recipe builds {name}")
    return builders[name]()


def _threshold(model: onnx.ModelProto, stored: Weights) -> float:
    """What the probabilities of a U-Net's graph are compared with; 0 for other graphs."""
    (made,) = model.graph.output
    if made.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        return 0.0
    (comparison,) = (node for node in model.graph.node if node.op_type == "Greater")
    return float(stored[comparison.input[1]])


def _fill(served: nn.Module, stored: Weights) -> None:
    """Weights of a graph into the layers of the same names. Raises ``ValueError`` where they do not fit."""
    left = dict(stored)
    for name, layer in served.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear) or name in UNSERVED:
            continue
        # A bias that comes of folded normalisation is named after the convolution's weights by torch's exporter.
        bias_name = next((one for one in (f"{name}.bias", f"{name}.weight_bias") if one in left), "")
        if f"{name}.weight" not in left or not bias_name or layer.bias is None:
            raise ValueError(f"the graph has no layer {name}: it is of another network than the recipe's")
        for target, values in ((layer.weight, left.pop(f"{name}.weight")), (layer.bias, left.pop(bias_name))):
            if tuple(target.shape) != values.shape:
                raise ValueError(f"{name} is {values.shape} in the graph and {tuple(target.shape)} in the recipe")
            target.data = torch.from_numpy(values.copy())
    if left:
        raise ValueError(f"the graph has {sorted(left)[0]}, which the recipe's network has not")
