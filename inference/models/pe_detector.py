"""Boxes around pulmonary emboli: YOLOv4 on a slice between its neighbours.

Decoding and the suppression of overlapping boxes are part of the graph, which gives a fixed number of boxes. Trained by
``inference/training/recipes/pe_detector.py``; its card is ``triton_models/pe_detector/CARD.md``.
"""

import numpy as np
from numpy.typing import NDArray

from inference.model import ModelSpec, Tensors, TensorSpec
from inference.models.angiogram_preparation import SIZE_PX
from inference.volume import Volume

BOXES = 16
"""On one slice at most; in FUMPE's masks no slice has more than 8."""

INPUT = TensorSpec(name="slices", dtype="uint8", shape=(3, SIZE_PX, SIZE_PX))
"""Grey levels of ``angiogram_preparation``: the slice below, the slice, the slice above."""
OUTPUT = TensorSpec(name="boxes", dtype="float32", shape=(BOXES, 5))
"""Left, top, right, bottom in pixels of the input, score 0-1; by falling score, zeros where there are fewer."""

SPEC = ModelSpec(
    name="pe_detector",
    version="2",
    inputs=(INPUT,),
    outputs=(OUTPUT,),
    labels=("background", "embolus"),
    source="YOLOv4 (Bochkovskiy et al. 2020), width 0.1875, depth 0.33, after Kiourt et al. 2021",
    trained_on="synthetic phantoms, and emboli painted into one real CT",
    licence="Apache-2.0",
)


class PeDetector:
    """A ``Model`` that puts boxes on each slice."""

    @property
    def spec(self) -> ModelSpec:
        """The model's fixed facts."""
        return SPEC

    def prepare(self, pictures: NDArray[np.uint8]) -> Tensors:
        """From ``angiogram_preparation.prepared_slices`` (n, 3, 416, 416)."""
        return {INPUT.name: pictures}

    def interpret(self, outputs: Tensors, volume: Volume) -> NDArray[np.float32]:
        """Boxes with scores (n, ``BOXES``, 5) of the slices given, in pixels of the prepared pictures."""
        boxes: NDArray[np.float32] = outputs[OUTPUT.name]
        return boxes
