"""The served models, one file each. The tuple is the table of contents: a new model is one file and one entry."""

from inference.model import Model
from inference.models.infection_unet import InfectionUnet
from inference.models.lungs_unet import LungsUnet
from inference.models.pe_classifier import PeClassifier
from inference.models.pe_detector import PeDetector

MODELS: tuple[Model, ...] = (LungsUnet(), InfectionUnet())
"""Models that mark voxels."""
EMBOLISM_MODELS: tuple[Model, ...] = (PeClassifier(), PeDetector())
"""Models that give slices of angiograms probabilities and boxes."""
EVERY_MODEL = (*MODELS, *EMBOLISM_MODELS)

__all__ = ["EMBOLISM_MODELS", "EVERY_MODEL", "MODELS", "InfectionUnet", "LungsUnet", "PeClassifier", "PeDetector"]
