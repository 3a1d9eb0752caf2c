"""The shipped lesion model. See ``docs/models/lesions.md`` for why this one."""

from inference.training.recipes.base import TRAINING_SEEDS, Pace, Recipe, Schedule

INFECTION_UNET = Recipe(
    name="infection_unet",
    source="2D U-Net with the lung mask as second input (after S0), cross-entropy and Dice",
    widths=(16, 32, 64, 128, 192),
    lung_channel=True,
    pace=Pace(schedule=Schedule.ONE_CYCLE, learning_rate=3e-3, steps=4000, batch=12, validate_every=250),
    phantom_seeds=TRAINING_SEEDS,
    phantom_share=0.17,
    mirrored_share=0.17,
    balanced=True,
    average=True,
)
