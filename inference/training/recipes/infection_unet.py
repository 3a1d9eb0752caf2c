"""The shipped lesion model: three U-Nets, the mean of whose log odds counts. ``docs/models/lesions.md`` says why.

They differ in what they see (the slice; the slice and the lungs, after S0) and in what they minimise (cross-entropy and
Dice; cross-entropy alone), because networks that err in different places correct each other.

The weights that are shipped were not made by one run of this file. ``infection_slices_unet`` is version 1 of the model,
trained in two cycles (1100 and 600 steps, uncropped, phantoms 30 % and mirrored pictures 25 % of the second cycle) by
code that this file replaces; its recipe here is the same in one cycle. ``infection_in_lungs_unet`` was stopped after
3500 of its 4000 steps, when validation had not gained for 250.
"""

from dataclasses import replace

from inference.training.losses import Loss
from inference.training.recipes.base import TRAINING_SEEDS, Pace, Recipe, Schedule

INFECTION_SLICES_UNET = Recipe(
    name="infection_slices_unet",
    source="2D U-Net, Ronneberger et al., MICCAI 2015; cross-entropy and Dice",
    crop=1.0,
    pace=Pace(schedule=Schedule.ONE_CYCLE, learning_rate=3e-3, steps=1700, batch=12),
    phantom_seeds=TRAINING_SEEDS,
    phantom_share=0.3,
    mirrored_share=0.1,
    average=True,
)
INFECTION_IN_LUNGS_UNET = Recipe(
    name="infection_in_lungs_unet",
    source="2D U-Net with the lung mask as second input, after S0; cross-entropy and Dice",
    lung_channel=True,
    pace=Pace(schedule=Schedule.ONE_CYCLE, learning_rate=3e-3, steps=4000, batch=12, validate_every=250),
    phantom_seeds=TRAINING_SEEDS,
    phantom_share=0.17,
    mirrored_share=0.17,
    balanced=True,
    average=True,
)
INFECTION_TUNED_UNET = replace(
    INFECTION_IN_LUNGS_UNET,
    name="infection_tuned_unet",
    source="infection_slices_unet, trained on with cross-entropy, which leaves it less sure of itself",
    lung_channel=False,
    loss=Loss.CROSS_ENTROPY,
    pace=Pace(schedule=Schedule.ONE_CYCLE, learning_rate=1.5e-3, steps=800, batch=12, validate_every=100),
    starts_from="infection_slices_unet",
    last_weights=True,
    seed=2,
)
INFECTION_MEMBERS = (INFECTION_SLICES_UNET, INFECTION_IN_LUNGS_UNET, INFECTION_TUNED_UNET)
