"""S0: the transferable U-Net of Maganaris et al. 2022 (arXiv 2205.02152), with the lung mask as second input.

What the paper says, and what is done here:

- Input: 320×320, −970 to −150 HU as 0 to 1, nearest-neighbour resize. Here the same where Hounsfield units exist; the
  public pictures are equalised already and taken as they are.
- Lung mask: of radiologists. Here half of the time the reference, half of the time the mask of ``lungs_unet``, and in
  every test the latter: the node has no other.
- Network: four encoder and decoder levels, 3×3 and ReLU, sigmoid; widths not told. Here four levels below the first,
  16 to 256 channels, with batch normalisation, without which short trainings fail.
- Loss: not told. Here cross-entropy.
- Pace: learning rate 1e-4, batch 45, at most 200 epochs, early stopping; that is ``paper``. ``pace`` is for two CPU
  cores.
- Slices without lung are left out, here too.
"""

from inference.training.losses import Loss
from inference.training.recipes.base import Pace, Preparation, Recipe, Schedule

LUNG_CHANNEL_UNET = Recipe(
    name="lung_channel_unet",
    source="S0: Maganaris et al. 2022, transferability of CT SARS-CoV-2 segmentation models",
    size_px=320,
    crop=0.6,
    widths=(16, 32, 64, 128, 256),
    lung_channel=True,
    preparation=Preparation.LUNG_WINDOW,
    loss=Loss.CROSS_ENTROPY,
    paper=Pace(schedule=Schedule.PLATEAU, learning_rate=1e-4, steps=2000, batch=45, validate_every=10, decay_after=200),
)
"""200 epochs of 440 slices are 2000 steps, and an epoch is 10; the paper does not decay the learning rate."""
