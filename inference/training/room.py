"""What the command line uses of training, in one place. Importing it needs the packages of ``make train-env``."""

from inference.model import Model
from inference.models import InfectionUnet, LungsUnet
from inference.training import comparison
from inference.training.cross_validation import cross_validate
from inference.training.recipes import INFECTION_MEMBERS, LUNGS_UNET, PAPERS, QUICK, RECIPES, Recipe
from inference.training.shipping import LabelledData, ship, train_recipe
from inference.training.transfer import as_markdown, transfer

SHIPPED: tuple[tuple[Model, tuple[Recipe, ...]], ...] = (
    (LungsUnet(), (LUNGS_UNET,)),
    (InfectionUnet(), INFECTION_MEMBERS),
)
"""Served models and the recipes of their networks."""

__all__ = [
    "PAPERS",
    "QUICK",
    "RECIPES",
    "SHIPPED",
    "LabelledData",
    "as_markdown",
    "comparison",
    "cross_validate",
    "ship",
    "train_recipe",
    "transfer",
]
