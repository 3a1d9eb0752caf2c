"""Boxes around pulmonary emboli: YOLOv4 after Kiourt et al. 2021 (S2), in a size that two processor cores run.

As the paper: 416×416, one class, mosaic, complete IoU. Not as the paper: three neighbouring slices as channels in place
of one; AdamW and one cycle in place of SGD (learning rate 1e-3, momentum 0.949, 10 000 iterations); phantoms in place
of 673 labelled slices of one scanner, which are not public. ``PAPER_SIZE`` is the authors' network.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.models.pe_detector import BOXES
from inference.networks.yolov4 import Size, YoloV4
from inference.networks.yolov4_boxes import Anchors, decode, suppressed
from inference.training.angiograms import Angiograms
from inference.training.detection_batches import DetectionBatches
from inference.training.detection_loss import detection_loss, start_rare
from inference.training.embolism_export import CANDIDATES, OVERLAP
from inference.training.embolism_trainer import EmbolismPace
from inference.training.evaluation.detection import PictureBoxes, average_precision
from inference.training.slice_pool import SlicePool

PAPER_SIZE = Size()
SHIPPED_SIZE = Size(width=0.1875, depth=0.33)
ANCHORS: Anchors = (
    ((6.0, 7.0), (10.0, 9.0), (9.0, 14.0)),
    ((14.0, 13.0), (13.0, 22.0), (22.0, 17.0)),
    ((28.0, 28.0), (48.0, 36.0), (90.0, 55.0)),
)
"""Near the clusters of the sizes of the training boxes, in pixels of 0.7 mm."""
VALIDATION_PICTURES = 96
AT_ONCE = 8


PACE = EmbolismPace(steps=1250, learning_rate=2.5e-3, weight_decay=5e-4, validate_every=150)
PAINTED_PACE = EmbolismPace(steps=600, learning_rate=1.2e-3, weight_decay=5e-4, validate_every=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRecipe:
    """Numbers of one training run."""

    name: str = "pe_detector"
    size: Size = SHIPPED_SIZE
    patients: int = 480
    validation_patients: int = 40
    pace: EmbolismPace = PACE
    painted_pace: EmbolismPace = PAINTED_PACE
    """Of the second training, with a painted real angiogram."""
    seed: int = 1

    def at(self, *, steps: int | None) -> "DetectorRecipe":
        """The same with another number of steps."""
        if steps is None:
            return self
        return replace(self, pace=replace(self.pace, steps=steps), painted_pace=replace(self.painted_pace, steps=steps))


PE_DETECTOR = DetectorRecipe()


class DetectorTask:
    """Boxes of clots on phantom angiograms; validated by average precision at an IoU of one half."""

    figure = "AP at IoU 0.5"

    def __init__(self, recipe: DetectorRecipe, pool: SlicePool, validation: Angiograms) -> None:
        self.name = recipe.name
        self._recipe, self._validation = recipe, validation
        self._batches = DetectionBatches(pool, seed=recipe.seed)

    def network(self) -> YoloV4:
        """With objects rare in the beginning."""
        network = YoloV4(self._recipe.size)
        start_rare([head.predict for head in (network.head_small, network.head_middle, network.head_large)])
        return network

    def loss(self, network: nn.Module, step: int) -> Tensor:
        """Of that step's mosaics."""
        batch = self._batches.draw(step)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(batch.pictures)
        return detection_loss(outputs, batch.truth, ANCHORS)

    def validate(self, network: nn.Module) -> float:
        """Average precision over an even sample of the validation pictures."""
        centres = self._validation.centres()
        chosen = centres[:: max(len(centres) // VALIDATION_PICTURES, 1)]
        found = found_boxes(network, [self._validation.picture(run, at) for run, at in chosen.tolist()])
        pictures = [
            PictureBoxes(found=boxes, true=self._validation.boxes[run][at])
            for boxes, (run, at) in zip(found, chosen.tolist(), strict=True)
        ]
        return average_precision(pictures, overlap=0.5) or 0.0


@torch.inference_mode()
def found_boxes(network: nn.Module, pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
    """Boxes (n, 5) of pictures (3, 416, 416) uint8, in float32."""
    result = []
    for first in range(0, len(pictures), AT_ONCE):
        part = torch.stack([torch.from_numpy(picture) for picture in pictures[first : first + AT_ONCE]]).float() / 255
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(part.contiguous(memory_format=torch.channels_last))
        boxes, odds = decode(outputs, ANCHORS)
        scores = torch.sigmoid(odds[:, :, 0]) * torch.sigmoid(odds[:, :, 1])
        for one in suppressed(boxes, scores, candidates=CANDIDATES, kept=BOXES, overlap=OVERLAP).numpy():
            result.append(one[one[:, 4] > 0.01])
    return result
