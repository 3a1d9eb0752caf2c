"""What the command line uses of training, in one place. Importing it needs the packages of ``make train-env``."""

from inference.model import Model
from inference.models import InfectionUnet, LungsUnet
from inference.training import backbones, comparison
from inference.training.cross_validation import cross_validate
from inference.training.embolism_shipping import as_text, ship_embolism_model
from inference.training.foreign_weights import import_weights
from inference.training.recipes import INFECTION_MEMBERS, LUNGS_UNET, PAPERS, QUICK, RECIPES, Recipe
from inference.training.shipping import LabelledData, ship, train_recipe
from inference.training.transfer import as_markdown, transfer

SHIPPED: tuple[tuple[Model, tuple[Recipe, ...]], ...] = (
    (LungsUnet(), (LUNGS_UNET,)),
    (InfectionUnet(), INFECTION_MEMBERS),
)
"""Served models and the recipes of their networks."""

EMBOLISM = ("pe_detector", "pe_classifier")
"""Models that learn from phantoms alone: they need no labelled data."""

__all__ = [
    "EMBOLISM",
    "PAPERS",
    "QUICK",
    "RECIPES",
    "SHIPPED",
    "LabelledData",
    "as_markdown",
    "as_text",
    "backbones",
    "comparison",
    "cross_validate",
    "import_weights",
    "ship",
    "ship_embolism_model",
    "train_recipe",
    "transfer",
]
