"""S1: the TV-UNet of Saeedizadeh et al. 2020 (arXiv 2007.12303): total variation of the prediction as a second loss.

Where the paper and its authors' code differ, and what is done here:

- Loss: paper: cross-entropy + λ · *sum* of absolute differences. Code: + 2.4e-7 · (*mean* down + *mean* across), which
  is nothing. Here the sum, divided by the picture's width, so that λ means the same at every size.
- Input: code: 128×128, raw. Here 256×256, equalised: what the public pictures are.
- Network: code: 64 to 1024 channels, batch normalisation, dropout 0.2, two sigmoid outputs. Here a quarter of the
  channels, batch normalisation, dropout 0.2, one output.
- Pace: paper: Adam, batch 32, 100 epochs; the rate decays after 5 epochs without gain, training ends after 10. Code:
  ends after 30 to 50. ``paper`` follows the paper; ``pace`` is for two CPU cores.
- Threshold: 0.3 in both (0.1 for the network without the term). Here a table over thresholds on held-back patients.

λ: cross-entropy of a trained network is about 0.03 a pixel; lesions have outlines of one to two picture widths. With
λ = 0.003 the term weighs about a tenth of the cross-entropy, with 0.01 a third. ``docs/models/`` has the ablation.
"""

from dataclasses import replace

from inference.training.losses import Loss
from inference.training.recipes.base import Pace, Recipe, Schedule

TV_UNET = Recipe(
    name="tv_unet",
    source="S1: Saeedizadeh et al. 2020, COVID TV-UNet",
    widths=(16, 32, 64, 128, 256),
    dropout=0.2,
    loss=Loss.CROSS_ENTROPY,
    total_variation_weight=0.003,
    paper=Pace(schedule=Schedule.PLATEAU, learning_rate=1e-3, steps=2300, batch=32, validate_every=23),
)
"""729 training and validation slices of the paper's first split are 23 batches."""

PLAIN_UNET = replace(TV_UNET, name="plain_unet", source="S1 without its term (λ = 0)", total_variation_weight=0.0)
"""The ablation."""
