"""Infected region (ground-glass opacity and consolidation together): a 2D U-Net on single axial slices.

Trained by ``inference/training/recipes.py`` ("infection_unet"); its card is ``triton_models/infection_unet/CARD.md``.
"""

from inference.model import ModelSpec
from inference.models.slice_preparation import INPUT, OUTPUT
from inference.models.slice_unet import SliceUnet

SPEC = ModelSpec(
    name="infection_unet",
    version="1",
    inputs=(INPUT,),
    outputs=(OUTPUT,),
    labels=("background", "infected region"),
    source="2D U-Net; data: Ma et al., COVID-19-CT-Seg-Benchmark, doi 10.1002/mp.14676",
    trained_on="12 public COVID-19 CT cases and synthetic phantoms",
    licence="CC BY-NC-SA 4.0, research only",
)


class InfectionUnet(SliceUnet):
    """See the module."""

    def __init__(self) -> None:
        super().__init__(SPEC)
