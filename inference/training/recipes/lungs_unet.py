"""The shipped lung model: both lungs as one label, lesions included."""

from inference.training.recipes.base import TRAINING_SEEDS, Pace, Recipe, Schedule, Target

LUNGS_UNET = Recipe(
    name="lungs_unet",
    source="2D U-Net, Ronneberger et al., MICCAI 2015",
    target=Target.LUNGS,
    pace=Pace(schedule=Schedule.ONE_CYCLE, learning_rate=3e-3, steps=1000, batch=12),
    phantom_seeds=TRAINING_SEEDS,
    phantom_share=0.25,
    balanced=True,
    average=True,
)
