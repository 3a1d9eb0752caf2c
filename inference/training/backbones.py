"""The question of Kiourt et al. 2021 (S2), asked again in the small: which backbone finds slices with emboli best?

Every backbone gets the same head, phantoms, batches, augmentations and steps, from random weights, at a size of picture
that a processor can train; the last weights count and the validation patients decide nothing. The paper began with
ImageNet weights, had real slices of 224×224 and trained to the end.
"""

import csv
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from inference.models.angiogram_preparation import SIZE_PX as FIELD_PX
from inference.models.pe_classifier import CROP_PX, INPUT_PX
from inference.networks import densenet, efficientnet, mobilenet_v2, resnet
from inference.networks.slice_classifier import SliceClassifier
from inference.training.angiograms import TRAINING_SEEDS, VALIDATION_SEEDS, Angiograms, kept_angiograms
from inference.training.embolism_trainer import EmbolismPace, train_embolism_model
from inference.training.evaluation.embolism import roc_area
from inference.training.recipes.pe_classifier import (
    BATCH,
    BRIGHTNESS,
    CELL_WEIGHT,
    CONTRAST,
    NOISE,
    PE_CLASSIFIER,
    ROTATION_DEG,
    SHEAR,
    SHIFT,
    ZOOM,
)

SIZE_PX = 96
"""Sides of the pictures unless told otherwise: 2.3 mm a pixel, so that small clots are a pixel or two."""
STRIDE = 32
"""Of every backbone: sides are multiples of it."""
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-4
SEED = 1
AT_ONCE = 64
TIMED_SLICES, TIMED_RUNS = 4, 3
CLOT_CHANNEL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """One network without its head; ``features`` as ``SliceClassifier`` wants them."""

    name: str
    features: Callable[[], nn.Module]
    channels: int

    def classifier(self) -> SliceClassifier:
        """With random weights and the paper's head."""
        return SliceClassifier(self.features(), self.channels)


BACKBONES = (
    Backbone(
        name="MobileNetV2",
        features=lambda: mobilenet_v2.mobilenet_v2_features(normalised=True),
        channels=mobilenet_v2.LAST,
    ),
    Backbone(name="EfficientNet-B0", features=efficientnet.efficientnet_b0_features, channels=efficientnet.LAST),
    Backbone(name="DenseNet121", features=densenet.densenet121_features, channels=densenet.LAST),
    Backbone(name="ResNet50", features=resnet.resnet50_features, channels=resnet.LAST),
)
"""Of the eight of the paper. VGG16, InceptionV3, NASNet and Inception-ResNet are not here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneFigures:
    """Of one backbone, on the slices of the validation phantoms; ``slice_ms`` at the served size."""

    name: str
    size_px: int
    steps: int
    parameters: int
    """Head included; without the cells that only training looks at."""
    accuracy: float
    roc_area: float
    slice_ms: float
    threads: int
    training_s: float
    slices: int
    slices_with_embolus: int


def compare(out: Path, *, steps: int, size_px: int, progress: bool = True) -> list[BackboneFigures]:
    """Train and measure every backbone, best area under the ROC curve first; also ``out/comparison.json``.

    The phantoms are those of ``models train pe_classifier`` and kept where it keeps them, in ``out``. Goes on where it
    was killed. Raises ``ValueError`` for a size that is no multiple of 32, or where ``out`` holds another comparison.
    """
    if size_px < STRIDE or size_px % STRIDE:
        raise ValueError(f"pictures of {size_px} pixels: the size must be a multiple of {STRIDE}")
    seeds = TRAINING_SEEDS[: PE_CLASSIFIER.patients], VALIDATION_SEEDS[: PE_CLASSIFIER.validation_patients]
    training = SmallPictures.of(kept_angiograms(seeds[0], out / "training.npz"), size_px=size_px)
    validation = SmallPictures.of(kept_angiograms(seeds[1], out / "validation.npz"), size_px=size_px)
    pace = EmbolismPace(
        steps=steps, learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY, validate_every=max(steps, 1)
    )
    table = []
    for backbone in BACKBONES:
        task = BackboneTask(backbone, training, validation)
        network = train_embolism_model(task, pace, seed=SEED, out=out / backbone.name, resume=True, progress=progress)
        table.append(_measured(backbone, network, task, steps=steps, training_s=_trained_s(out / backbone.name)))
    table.sort(key=lambda one: -one.roc_area)
    (out / "comparison.json").write_text(json.dumps([asdict(one) for one in table], indent=2) + "\n", encoding="utf-8")
    return table


def as_markdown(table: Sequence[BackboneFigures]) -> str:
    """For people."""
    first = table[0]
    lines = [
        f"synthetic: {first.slices} slices of phantoms ({first.slices_with_embolus} with embolus), pictures of "
        f"{first.size_px}×{first.size_px}, {first.steps} steps of {BATCH} from random weights; processor time a "
        f"slice at {INPUT_PX}×{INPUT_PX} with {first.threads} thread{'s' if first.threads > 1 else ''}",
        "",
        "| backbone | parameters, M | accuracy | area under the ROC curve | ms a slice | training, s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for one in table:
        lines.append(
            f"| {one.name} | {one.parameters / 1e6:.2f} | {one.accuracy:.3f} | {one.roc_area:.3f} | "
            f"{one.slice_ms:.1f} | {one.training_s:.0f} |"
        )
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SmallPictures:
    """Every slice that has neighbours. ``layers`` (n, 4, W, W) uint8: three slices, and 255 where a box lies.

    W is as much larger than ``size_px`` as the prepared picture is than the classifier's crop, so that turning and
    shifting bring in no border. ``present`` (n,) bool: whether there is a box.
    """

    layers: Tensor
    present: NDArray[np.bool_]
    size_px: int

    @classmethod
    def of(cls, angiograms: Angiograms, *, size_px: int) -> "SmallPictures":
        """All of them, scaled down by area."""
        width = round(size_px * FIELD_PX / CROP_PX)
        centres = angiograms.centres().tolist()
        layers = np.empty((len(centres), CLOT_CHANNEL + 1, width, width), np.uint8)
        for target, (run, at) in zip(layers, centres, strict=True):
            marked = np.zeros((FIELD_PX, FIELD_PX), np.uint8)
            for left, top, right, bottom in np.rint(angiograms.boxes[run][at]).astype(int):
                marked[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 255
            whole = np.dstack([angiograms.picture(run, at).transpose(1, 2, 0), marked])
            target[...] = cv2.resize(whole, (width, width), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
        present = np.array([len(angiograms.boxes[run][at]) > 0 for run, at in centres])
        return cls(layers=torch.from_numpy(layers), present=present, size_px=size_px)

    def seen(self, chosen: NDArray[np.int64], changes: Tensor) -> Tensor:
        """The crops (n, 4, size, size) of pictures in 0-1; ``changes`` (n, 2, 3): affine maps of the unit square."""
        place = changes * (CROP_PX / FIELD_PX)
        shape = (len(chosen), CLOT_CHANNEL + 1, self.size_px, self.size_px)
        grid = F.affine_grid(place, list(shape), align_corners=False)
        return F.grid_sample(self.layers[chosen].float() / 255, grid, align_corners=False)


class BackboneTask:
    """Embolus or none, learnt by one backbone; what ``train_embolism_model`` trains."""

    figure = "area under the ROC curve"

    def __init__(self, backbone: Backbone, training: SmallPictures, validation: SmallPictures) -> None:
        self.name = f"{backbone.name} on {training.size_px} px"
        self._backbone, self._training, self.validation = backbone, training, validation
        self._pools = [np.flatnonzero(training.present == label) for label in (False, True)]

    def network(self) -> SliceClassifier:
        """With random weights."""
        return self._backbone.classifier()

    def loss(self, network: nn.Module, step: int) -> Tensor:
        """Cross-entropy of a batch, half of it with emboli, and where they are; the same batch for every backbone."""
        if not isinstance(network, SliceClassifier):
            raise TypeError("the backbones are compared with one head, SliceClassifier")
        rng = np.random.default_rng((SEED, step))
        labels = np.arange(BATCH) % 2
        chosen = np.array([rng.choice(self._pools[label]) for label in labels])
        changes = torch.from_numpy(np.stack([_change(rng) for _ in labels]).astype(np.float32))
        layers = self._training.seen(chosen, changes)
        pictures = _contrast(layers[:, :CLOT_CHANNEL] * 2 - 1, rng)
        with torch.autocast("cpu", torch.bfloat16):
            features = network.features(pictures.contiguous(memory_format=torch.channels_last))
            odds, cells = network.classified(features), network.where(features)
        cells = cells.float()
        inside = F.adaptive_max_pool2d(layers[:, CLOT_CHANNEL:], cells.shape[1:])[:, 0]
        where = F.binary_cross_entropy_with_logits(cells, (inside > 0.5).float(), pos_weight=torch.tensor(CELL_WEIGHT))
        return F.cross_entropy(odds.float(), torch.from_numpy(labels).long()) + where

    def validate(self, network: nn.Module) -> float:
        """Area under the ROC curve on the validation phantoms."""
        return roc_area(self.probabilities(network), self.validation.present)

    @torch.inference_mode()
    def probabilities(self, network: nn.Module) -> NDArray[np.float32]:
        """Of an embolus, on every validation slice."""
        result = []
        for chosen in np.split(
            np.arange(len(self.validation.present)), range(AT_ONCE, len(self.validation.present), AT_ONCE)
        ):
            layers = self.validation.seen(chosen, torch.eye(2, 3).expand(len(chosen), 2, 3))
            odds = network(layers[:, :CLOT_CHANNEL] * 2 - 1)
            result.append(torch.softmax(odds, dim=1)[:, 1].numpy())
        return np.concatenate(result)


def _measured(
    backbone: Backbone, network: nn.Module, task: BackboneTask, *, steps: int, training_s: float
) -> BackboneFigures:
    probability, truth = task.probabilities(network), task.validation.present
    return BackboneFigures(
        name=backbone.name,
        size_px=task.validation.size_px,
        steps=steps,
        parameters=sum(one.numel() for name, one in network.named_parameters() if not name.startswith("cells")),
        accuracy=float(np.mean((probability > 0.5) == truth)),
        roc_area=roc_area(probability, truth),
        slice_ms=_slice_ms(network),
        threads=torch.get_num_threads(),
        training_s=training_s,
        slices=len(truth),
        slices_with_embolus=int(truth.sum()),
    )


def _trained_s(folder: Path) -> float:
    """As the training kept it, over kills."""
    with (folder / "curve.csv").open(newline="", encoding="utf-8") as file:
        return float(list(csv.DictReader(file))[-1]["seconds"])


@torch.inference_mode()
def _slice_ms(network: nn.Module) -> float:
    """Processor time in single precision, the least of some runs: on a busy machine the clock tells of others."""
    pictures = torch.zeros(TIMED_SLICES, 3, INPUT_PX, INPUT_PX).contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(TIMED_RUNS + 1):
        started = time.process_time()
        network(pictures)
        seconds.append(time.process_time() - started)
    return 1000 * min(seconds[1:]) / TIMED_SLICES


def _change(rng: np.random.Generator) -> NDArray[np.float64]:
    """A random affine map (2, 3) of the unit square around its middle: turned, sheared, zoomed, shifted, mirrored."""
    angle, shear = np.deg2rad(rng.uniform(-ROTATION_DEG, ROTATION_DEG)), rng.uniform(-SHEAR, SHEAR)
    zoom = 1 / rng.uniform(1 - ZOOM, 1 + ZOOM)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = zoom * turn @ np.array([[1, shear], [0, 1]]) @ np.diag([rng.choice([-1.0, 1.0]), 1.0])
    # The square's sides run from -1 to 1 here, so that a shift by a share of the side counts twice.
    return np.hstack([matrix, 2 * rng.uniform(-SHIFT, SHIFT, (2, 1))])


def _contrast(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures in −1…1 with other contrast, brightness and noise, each its own."""
    count = len(pictures)
    contrast, brightness, noise = (
        torch.from_numpy(rng.uniform(low, high, (count, 1, 1, 1)).astype(np.float32))
        for low, high in (CONTRAST, (-BRIGHTNESS, BRIGHTNESS), (0, NOISE))
    )
    grain = torch.from_numpy(rng.standard_normal(pictures.shape, np.float32))
    return ((pictures + 1) * contrast - 1 + brightness + noise * grain).clamp(-1, 1)
