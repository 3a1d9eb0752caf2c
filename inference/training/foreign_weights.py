"""Weights that others trained, as the first weights of a training here: read, held against the recipe, kept.

Formats: Darknet's ``.weights`` and torch's state dictionaries for ``pe_detector``; quantised TensorFlow Lite (ImageNet)
and state dictionaries for ``pe_classifier``; state dictionaries with this repository's names for the U-Net recipes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from inference.networks.darknet_weights import darknet_values, load_darknet, values_in
from inference.networks.mobilenet_v2 import MobileNetV2
from inference.networks.unet import UNet2d
from inference.networks.yolov4 import Convolution, Size, YoloV4
from inference.training.recipes import LUNGS_UNET, RECIPES
from inference.training.recipes.pe_classifier import PE_CLASSIFIER
from inference.training.recipes.pe_detector import PAPER_SIZE, PE_DETECTOR, SHIPPED_SIZE, DetectorRecipe
from inference.training.tflite_weights import IDENTIFIER, load_imagenet

START = "start.pt"
"""In the folder of a training: the weights that it begins with."""
SIZES = (SHIPPED_SIZE, PAPER_SIZE)
"""Of ``YoloV4`` that a file may have."""
INPUT_CHANNELS = 3
"""Of every detector here: the slice between its neighbours."""
MOST_CLASSES = 1000
_ZIP = b"PK\x03\x04"
"""How torch's files begin."""

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignWeights:
    """What was read, and ``said`` of it for people."""

    weights: Weights
    said: str


def import_weights(name: str, file: Path, *, out: Path) -> tuple[Path, str]:
    """Keep the weights of ``file`` where the training of ``name`` in ``out`` begins.

    Returns the kept file and what is in it, in words. Raises ``ValueError`` where the file does not fit the network of
    ``name`` or a training is in ``out`` already.
    """
    folder = training_folder(name, out)
    if (folder / "last.pt").exists():
        raise ValueError(f"{folder} holds a training that goes on with its own weights: give another --out")
    with file.open("rb") as opened:
        begin = opened.read(8)
    if name == PE_DETECTOR.name:
        found = _state_dict(file, _detectors()) if begin.startswith(_ZIP) else _darknet(file)
    elif name == PE_CLASSIFIER.name and begin[4:] == IDENTIFIER:
        network = MobileNetV2()
        load_imagenet(network, file)
        found = ForeignWeights(weights=network.state_dict(), said="features of MobileNetV2; the head is random")
    elif begin.startswith(_ZIP):
        found = _state_dict(file, _networks(name))
    else:
        raise ValueError(f"{file} is no file of weights that {name} can begin with (a state dictionary of torch)")
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(dict(found.weights), folder / START)
    return folder / START, found.said


def training_folder(name: str, out: Path) -> Path:
    """Where ``models train NAME --out OUT`` trains. Raises ``ValueError`` for a name that is no single network."""
    if name in (PE_DETECTOR.name, PE_CLASSIFIER.name):
        return out / f"{name}-training"
    names = [recipe.name for recipe in RECIPES]
    if name not in names:
        raise ValueError(
            f"{name} is no single network; weights can be imported for {', '.join(sorted(names))}, "
            f"{PE_DETECTOR.name} and {PE_CLASSIFIER.name}"
        )
    return out / name if name == LUNGS_UNET.name else out


def start_of(folder: Path) -> Path | None:
    """The imported weights that a training in ``folder`` begins with."""
    return folder / START if (folder / START).exists() else None


def detector_size(weights: Weights) -> Size:
    """Of the detector that these weights are of; that of the recipe where they are of none that is known."""
    shapes = _shapes(weights)
    return next((size for size in SIZES if _shapes(_empty(size).state_dict()) == shapes), PE_DETECTOR.size)


def detector_recipe(start: Path | None) -> DetectorRecipe:
    """The detector's recipe, in the size of the imported weights that a training begins with."""
    if start is None:
        return PE_DETECTOR
    return replace(PE_DETECTOR, size=detector_size(torch.load(start, map_location="cpu", weights_only=True)))


def _darknet(file: Path) -> ForeignWeights:
    """A detector of either size, for three channels or for one, with one class."""
    count = values_in(file)
    for size in SIZES:
        for channels in (INPUT_CHANNELS, 1):
            if darknet_values(_empty(size, channels=channels)) != count:
                continue
            network = YoloV4(size, channels_in=channels)
            load_darknet(network, file)
            _refuse_impossible(network, file)
            weights = network.state_dict()
            said = f"YOLOv4 of {_named(size)}, one class, {channels} channel{'s' if channels > 1 else ''}"
            if channels == 1:
                weights["stem.convolution.weight"] = _in_the_middle(weights["stem.convolution.weight"])
                said += "; it now sees the slice as it did, and nothing of its neighbours"
            return ForeignWeights(weights=weights, said=said)
    wanted = ", ".join(f"{darknet_values(_empty(size))} ({_named(size)})" for size in SIZES)
    raise ValueError(
        f"{file} holds {count} values, YOLOv4 of one class {wanted}: "
        + (_other_classes(count) or "it is cut off, or of another network or width")
    )


def _other_classes(count: int) -> str:
    """What a file of so many values is, if the number of classes alone is wrong."""
    for size in SIZES:
        one, two = (darknet_values(_empty(size, classes=classes)) for classes in (1, 2))
        more, rest = divmod(count - one, two - one)
        if not rest and 0 < more < MOST_CLASSES:
            return f"it has {more + 1} classes at {_named(size)}; train it for one class first"
    return ""


def _refuse_impossible(network: nn.Module, file: Path) -> None:
    """The number of values fits other networks too; theirs give variances and numbers that cannot be."""
    for module in network.modules():
        if isinstance(module, Convolution):
            variance = module.normalisation.running_var
            if variance is None or not bool((variance >= 0).all()):
                raise ValueError(f"{file} has negative variances: its layers are in another order than yolov4.cfg's")
    if not all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()):
        raise ValueError(f"{file} holds values that are no numbers: it is damaged, or no file of Darknet")


def _in_the_middle(weights: Tensor) -> Tensor:
    """Weights (out, 1, rows, columns) of a network that saw one slice, for one that sees three."""
    wide = torch.zeros(weights.shape[0], INPUT_CHANNELS, *weights.shape[2:])
    wide[:, INPUT_CHANNELS // 2] = weights[:, 0]
    return wide


def _state_dict(file: Path, networks: Mapping[str, nn.Module]) -> ForeignWeights:
    """Of the first network that has these names and shapes. Raises ``ValueError`` naming what does not fit."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise ValueError(f"{file} cannot be read by torch ({str(error).splitlines()[0]})") from error
    weights = content.get("best_weights", content) if isinstance(content, dict) else content
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"{file} holds no state dictionary of torch")
    faults = []
    for said, network in networks.items():
        fault = next(_differences(_shapes(weights), _shapes(network.state_dict())), "")
        if not fault and not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            fault = "values that are no numbers"
        if not fault:
            return ForeignWeights(weights=weights, said=said)
        faults.append(f"{said}: {fault}")
    raise ValueError(f"{file} does not fit {'; '.join(faults)}")


def _differences(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    for name in wanted:
        if name not in found:
            yield f"{name} is missing"
        elif found[name] != wanted[name]:
            yield f"{name} is {found[name]}, wanted {wanted[name]}"
    for name in found:
        if name not in wanted:
            yield f"{name} is of another network"


def _networks(name: str) -> dict[str, nn.Module]:
    with torch.device("meta"):
        if name == PE_CLASSIFIER.name:
            return {"MobileNetV2 with its head": MobileNetV2()}
        (recipe,) = (one for one in RECIPES if one.name == name)
        unet = UNet2d(recipe.widths, channels_in=recipe.channels, dropout=recipe.dropout)
        return {f"the U-Net of {name}": unet}


def _detectors() -> dict[str, nn.Module]:
    return {f"YOLOv4 of {_named(size)}": _empty(size) for size in SIZES}


def _empty(size: Size, *, channels: int = INPUT_CHANNELS, classes: int = 1) -> YoloV4:
    """Without memory for its weights."""
    with torch.device("meta"):
        return YoloV4(size, channels_in=channels, classes=classes)


def _shapes(weights: Weights) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}


def _named(size: Size) -> str:
    return f"width {size.width:g} and depth {size.depth:g}"
