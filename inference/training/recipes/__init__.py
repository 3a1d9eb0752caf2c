"""The recipes, one file each. The tuple is the table of contents."""

from inference.training.recipes.base import QUICK, Pace, Preparation, Recipe, Schedule, Target
from inference.training.recipes.infection_unet import INFECTION_MEMBERS
from inference.training.recipes.inside_lungs_unet import INSIDE_LUNGS_UNET
from inference.training.recipes.lung_channel_unet import LUNG_CHANNEL_UNET
from inference.training.recipes.lungs_unet import LUNGS_UNET
from inference.training.recipes.tv_unet import PLAIN_UNET, TV_UNET

PAPERS: tuple[Recipe, ...] = (LUNG_CHANNEL_UNET, TV_UNET, PLAIN_UNET, INSIDE_LUNGS_UNET)
"""Of the lesion papers, and the ablation."""
RECIPES: tuple[Recipe, ...] = (LUNGS_UNET, *INFECTION_MEMBERS, *PAPERS)

__all__ = [
    "INFECTION_MEMBERS",
    "LUNGS_UNET",
    "PAPERS",
    "QUICK",
    "RECIPES",
    "Pace",
    "Preparation",
    "Recipe",
    "Schedule",
    "Target",
]
