"""What one labelled patient is, and the seam by which every layout of files becomes one.

A reader is one file with the two verbs of ``CaseReader``. Readers that need DICOM live with the node and are passed
in: the model side knows no DICOM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LUNG, LESION, LESION_OUTSIDE_LUNG = 1, 2, 3
"""Palette of the reference masks: 0 background; lung (lesions included) is everything from 1 on, lesion from 2 on."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """All labelled axial slices of one patient.

    ``slices``: (n, rows, columns); int16 in Hounsfield units, or uint8 grey levels equalised as
    ``inference.models.slice_preparation`` does where Hounsfield units are lost. Rows run from front to back, columns
    from the patient's right to left, as radiologists look at them.
    ``palette``: uint8 of the same shape: see ``LUNG``, ``LESION``, ``LESION_OUTSIDE_LUNG``.
    """

    name: str
    slices: NDArray[np.int16] | NDArray[np.uint8]
    palette: NDArray[np.uint8]

    @property
    def in_hounsfield_units(self) -> bool:
        """Whether ``slices`` are in Hounsfield units."""
        return bool(self.slices.dtype == np.int16)


class CaseReader(Protocol):
    """Reads one layout of a case's folder."""

    def recognises(self, folder: Path) -> bool:
        """Whether this folder is a case in this reader's layout."""
        ...

    def read(self, folder: Path) -> Case:
        """The case. Raises ``ValueError`` naming the file and what is wrong with it."""
        ...


def case_names(data: Path, readers: Sequence[CaseReader]) -> tuple[str, ...]:
    """Names of the folders in ``data`` that some reader recognises, sorted."""
    folders = sorted(folder for folder in data.iterdir() if folder.is_dir())
    return tuple(folder.name for folder in folders if any(reader.recognises(folder) for reader in readers))


def read_case(folder: Path, readers: Sequence[CaseReader]) -> Case:
    """One case by the first reader that recognises it. Raises ``ValueError`` where none does or the files are bad."""
    for reader in readers:
        if reader.recognises(folder):
            return reader.read(folder)
    raise ValueError(f"{folder} is not a labelled case in any layout known (see docs/training.md)")
