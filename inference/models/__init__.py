"""The served models, one file each. The tuple is the table of contents: a new model is one file and one entry."""

from inference.model import Model
from inference.models.infection_unet import InfectionUnet
from inference.models.lungs_unet import LungsUnet
from inference.models.pe_classifier import PeClassifier
from inference.models.pe_detector import PeDetector

MODELS: tuple[Model, ...] = (LungsUnet(), InfectionUnet())

__all__ = ["MODELS", "InfectionUnet", "LungsUnet", "PeClassifier", "PeDetector"]
