"""Infected region (ground-glass opacity and consolidation together): three 2D U-Nets on axial slices and their lungs.

Trained by ``inference/training/recipes/infection_unet.py``; its card is ``triton_models/infection_unet/CARD.md``.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.model import ModelSpec, Tensors
from inference.models.slice_preparation import INPUT, LUNGS, OUTPUT, SIZE_PX
from inference.models.slice_unet import SliceUnet

SPEC = ModelSpec(
    name="infection_unet",
    version="3",
    inputs=(INPUT, LUNGS),
    outputs=(OUTPUT,),
    labels=("background", "infected region"),
    source="three 2D U-Nets, one with the lung mask as second input after Maganaris et al. 2022; "
    "data: Ma et al., COVID-19-CT-Seg-Benchmark, doi 10.1002/mp.14676",
    trained_on="12 public COVID-19 CT cases and synthetic phantoms",
    licence="CC BY-NC-SA 4.0, research only",
)


class InfectionUnet(SliceUnet):
    """See the module."""

    def __init__(self) -> None:
        super().__init__(SPEC)

    def prepare(self, slices: NDArray[np.float16], lungs: NDArray[np.bool_]) -> Tensors:
        """Input tensors of the slices given.

        ``slices``: (n, 1, 256, 256), from ``slice_preparation.prepare_slices``. ``lungs``: (n, rows, columns) over the
        same space, in any size.
        """
        masks = np.zeros((len(slices), *LUNGS.shape), np.uint8)
        for target, mask in zip(masks, lungs, strict=True):
            cv2.resize(mask.astype(np.uint8), (SIZE_PX, SIZE_PX), dst=target, interpolation=cv2.INTER_NEAREST)
        return {INPUT.name: slices, LUNGS.name: masks}
