"""Labelled data: one folder a patient, in any of the layouts of ``READERS``."""

from inference.training.cases.base import Case, CaseReader, case_names, read_case
from inference.training.cases.png_pairs import PngPairs
from inference.training.cases.volume_files import VolumeFiles

READERS: tuple[CaseReader, ...] = (PngPairs(), VolumeFiles())
"""Without DICOM: the node adds its own reader."""

__all__ = ["READERS", "Case", "CaseReader", "case_names", "read_case"]
