"""Labelled data: one folder a patient, in any of the layouts of ``READERS``."""

from inference.training.cases.base import Case, CaseReader, case_names, read_case
from inference.training.cases.png_pairs import PngPairs

READERS: tuple[CaseReader, ...] = (PngPairs(),)
"""Without DICOM: the node adds its own reader."""

__all__ = ["READERS", "Case", "CaseReader", "case_names", "read_case"]
