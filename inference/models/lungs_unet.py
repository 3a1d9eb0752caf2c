"""Both lungs as one label, lesions included: a 2D U-Net on single axial slices.

Trained by ``inference/training/recipes/lungs_unet.py``; its card is ``triton_models/lungs_unet/CARD.md``.
"""

from inference.model import ModelSpec, Tensors
from inference.models.slice_preparation import INPUT, OUTPUT, prepare_slices
from inference.models.slice_unet import SliceUnet
from inference.volume import Volume

SPEC = ModelSpec(
    name="lungs_unet",
    version="2",
    inputs=(INPUT,),
    outputs=(OUTPUT,),
    labels=("background", "lung"),
    source="2D U-Net; data: Ma et al., COVID-19-CT-Seg-Benchmark, doi 10.1002/mp.14676",
    trained_on="12 public COVID-19 CT cases and synthetic phantoms",
    licence="CC BY-NC-SA 4.0, research only",
)


class LungsUnet(SliceUnet):
    """See the module."""

    def __init__(self) -> None:
        super().__init__(SPEC)

    def prepare(self, volume: Volume) -> Tensors:
        """Every slice, prepared as the training pictures were."""
        return {INPUT.name: prepare_slices(volume.array_zyx)}
