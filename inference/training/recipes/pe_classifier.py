"""Is there an embolus on this slice? MobileNetV2 after Kiourt et al. 2021 (S2), from ImageNet weights.

As the paper: 224×224, dense layer of 512, dropout 0.4, softmax over two, augmentations. Not as the
paper: three neighbouring slices as channels; mean and maximum of the features; a second loss that says which of the 7×7
cells hold a clot (training data has boxes, and few pictures); AdamW and one cycle up to 6e-4 in place of Adam at 1e-4
with an L2 of 0.005 on the dense layer, whose pull is scaled with the learning rate here; phantoms as data.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from inference.models.angiogram_preparation import SIZE_PX
from inference.models.pe_classifier import centre_crop
from inference.networks.mobilenet_v2 import MobileNetV2
from inference.training.angiograms import Angiograms
from inference.training.embolism_trainer import EmbolismPace
from inference.training.slice_pool import SlicePool
from inference.training.tflite_weights import load_imagenet

ROTATION_DEG, SHIFT, ZOOM, SHEAR = 10.0, 0.05, 0.3, 0.2
CONTRAST, BRIGHTNESS, NOISE = (0.85, 1.2), 0.05, 0.03
HEAD_L2 = 0.005
CELL_WEIGHT = 8.0
"""Of a cell with a clot against one without, in the loss that tells where: most cells have none."""
BATCH = 24
AT_ONCE = 16


PACE = EmbolismPace(steps=720, learning_rate=6e-4, weight_decay=1e-4, validate_every=100)
PAINTED_PACE = EmbolismPace(steps=420, learning_rate=4e-4, weight_decay=1e-4, validate_every=70)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRecipe:
    """Numbers of one training run."""

    name: str = "pe_classifier"
    patients: int = 480
    validation_patients: int = 40
    pace: EmbolismPace = PACE
    painted_pace: EmbolismPace = PAINTED_PACE
    """Of the second training, with a painted real angiogram."""
    seed: int = 1

    def at(self, *, steps: int | None) -> "ClassifierRecipe":
        """The same with another number of steps."""
        if steps is None:
            return self
        return replace(self, pace=replace(self.pace, steps=steps), painted_pace=replace(self.painted_pace, steps=steps))


PE_CLASSIFIER = ClassifierRecipe()


class ClassifierTask:
    """Embolus or none on phantom slices; validated by accuracy over both classes, each counting half."""

    figure = "balanced accuracy"

    def __init__(
        self, recipe: ClassifierRecipe, pool: SlicePool, validation: Angiograms, *, imagenet: Path | None
    ) -> None:
        self.name = recipe.name
        self._recipe, self._pool, self._validation = recipe, pool, validation
        self._imagenet = imagenet

    def network(self) -> MobileNetV2:
        """With the features of ImageNet, where they are at hand."""
        network = MobileNetV2()
        if self._imagenet is not None:
            load_imagenet(network, self._imagenet)
        return network

    def loss(self, network: nn.Module, step: int) -> Tensor:
        """Cross-entropy of a batch with as many slices with as without emboli, and the L2 of the head."""
        rng = np.random.default_rng((self._recipe.seed, step))
        labels = np.arange(BATCH) % 2
        made = [self._augmented(int(label), rng) for label in labels]
        inputs = torch.from_numpy(np.stack([picture for picture, _ in made]))
        clots = torch.from_numpy(np.stack([clot for _, clot in made]))
        if not isinstance(network, MobileNetV2):
            raise TypeError("the classifier's head is MobileNetV2's")
        with torch.autocast("cpu", torch.bfloat16):
            features = network.features(inputs.contiguous(memory_format=torch.channels_last))
            odds, cells = network.classified(features), network.where(features)
        cells = cells.float()
        present = F.adaptive_max_pool2d(clots[:, None], cells.shape[1:])[:, 0]
        where = F.binary_cross_entropy_with_logits(cells, present, pos_weight=torch.tensor(CELL_WEIGHT))
        entropy = F.cross_entropy(odds.float(), torch.from_numpy(labels).long()) + where
        return entropy + HEAD_L2 * network.hidden.weight.square().sum() / 2 * self._recipe.pace.learning_rate

    def _augmented(self, label: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A picture (3, 224, 224) in −1…1, and where its boxes are (224, 224), 0 or 1."""
        picture, boxes = self._pool.draw(filled=bool(label), rng=rng)
        marked = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
        for left, top, right, bottom in np.rint(boxes).astype(int):
            marked[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 255
        layers = np.dstack([picture.transpose(1, 2, 0), marked])
        *shown, clots = centre_crop(layers, change=_change(rng)).transpose(2, 0, 1).astype(np.float32) / 127.5 - 1
        values = np.stack(shown)
        values = (
            (values + 1) * np.float32(rng.uniform(*CONTRAST)) - 1 + np.float32(rng.uniform(-BRIGHTNESS, BRIGHTNESS))
        )
        values += rng.standard_normal(values.shape, np.float32) * np.float32(rng.uniform(0, NOISE))
        return np.clip(values, -1, 1).astype(np.float32), (clots > 0).astype(np.float32)

    def validate(self, network: nn.Module) -> float:
        """Balanced accuracy at one half on all validation slices."""
        centres = self._validation.centres().tolist()
        truth = np.array([len(self._validation.boxes[run][at]) > 0 for run, at in centres])
        found = probabilities(network, [self._validation.picture(run, at) for run, at in centres]) > 0.5
        return float(np.mean([np.mean(found[truth]), np.mean(~found[~truth])]))


@torch.inference_mode()
def probabilities(network: nn.Module, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Of an embolus, for pictures (3, 416, 416)."""
    result = []
    for first in range(0, len(pictures), AT_ONCE):
        part = np.stack(
            [
                centre_crop(picture.transpose(1, 2, 0)).transpose(2, 0, 1)
                for picture in pictures[first : first + AT_ONCE]
            ]
        )
        with torch.autocast("cpu", torch.bfloat16):
            odds = network(torch.from_numpy(part).float() / 127.5 - 1)
        result.append(torch.softmax(odds.float(), dim=1)[:, 1].numpy())
    return np.concatenate(result)


def _change(rng: np.random.Generator) -> NDArray[np.float64]:
    """A random affine map (2, 3) of the unit square around its middle: turned, sheared, zoomed, shifted, mirrored."""
    angle, shear = np.deg2rad(rng.uniform(-ROTATION_DEG, ROTATION_DEG)), rng.uniform(-SHEAR, SHEAR)
    zoom = 1 / rng.uniform(1 - ZOOM, 1 + ZOOM)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = zoom * turn @ np.array([[1, shear], [0, 1]]) @ np.diag([rng.choice([-1.0, 1.0]), 1.0])
    return np.asarray(np.hstack([matrix, rng.uniform(-SHIFT, SHIFT, (2, 1))]), np.float64)
