"""S3: the 2D U-Net of the Miami group, whose loss looks at the lungs only.

Where the report and its authors' code differ, and what is done here:

- Input: both: 0.9 mm, centre crop to 320×320, 1st to 99th percentile as 0 to 1. Here percentiles of the case at
  320×320; the public pictures have no millimetres and are enlarged.
- Network: U-Net with 16 filters at first; code: batch normalisation, three levels (in 3D). Here 16 to 128 channels,
  three levels below the first, batch normalisation.
- Loss: both: −Dice of the pixels inside the lungs; code: smoothed by 1. Here the same.
- Optimiser: report: SGD, at most 2000 epochs, best validation weights; code: Adam. Here Adam, as the code.
- Split: 80/10/10 by slice in 2D, so that slices of one patient are on both sides, which the report admits. Here by
  patient.

Outside the lungs nothing is learnt, so the result is cut to the lungs.
"""

from inference.training.losses import Loss
from inference.training.recipes.base import Pace, Preparation, Recipe, Schedule

INSIDE_LUNGS_UNET = Recipe(
    name="inside_lungs_unet",
    source="S3: data sets and U-Nets of the Miami group, 2D",
    size_px=320,
    crop=0.6,
    widths=(16, 32, 64, 128),
    preparation=Preparation.PERCENTILES,
    loss=Loss.DICE_INSIDE_LUNGS,
    paper=Pace(schedule=Schedule.PLATEAU, learning_rate=1e-3, steps=200_000, batch=12, decay_after=50, stop_after=200),
)
