"""From the masks that people drew to the one palette of ``base.py``, or the reason why not."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.training.cases.base import LESION, LESION_OUTSIDE_LUNG, LUNG

MEANING = "0 background, 1 lung, 2 lesion, 3 lesion outside the lung"
_VALUES_NAMED = 6
"""Of foreign values in an error text: enough to recognise another labelling by."""


def palette_of(*, lungs: NDArray[np.bool_], lesions: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Two masks of one shape as palette. Where the lungs were outlined without their lesions, these are "outside"."""
    inside = np.where(lesions, np.uint8(LESION), np.uint8(LUNG))
    return np.where(lungs, inside, lesions * np.uint8(LESION_OUTSIDE_LUNG)).astype(np.uint8, copy=False)


def checked_palette(values: NDArray[Any], file: Path) -> NDArray[np.uint8]:
    """The values of a mask file as palette. Raises ``ValueError`` naming the file where they are another labelling."""
    found = np.unique(values)
    foreign = found[~np.isin(found, (0, LUNG, LESION, LESION_OUTSIDE_LUNG))]
    if len(foreign):
        named = ", ".join(f"{value:g}" for value in foreign[:_VALUES_NAMED])
        more = " and more" if len(foreign) > _VALUES_NAMED else ""
        raise ValueError(
            f"{file} holds the values {named}{more}, which mean nothing here: relabel it ({MEANING}), "
            "or write one mask of the lungs and one of the lesions"
        )
    return values.astype(np.uint8, copy=False)
