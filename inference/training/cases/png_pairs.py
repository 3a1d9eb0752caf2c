"""The layouts of the public pictures: a folder a patient with ``NNNN_ct.png`` and its mask.

``ct``: 256×256, 8 bit, equalised as ``slice_preparation`` does. Its mask: ``NNNN_mask.png`` with the palette of
``base.py``, or ``NNNN_lung.png`` and ``NNNN_lesion.png``, in which everything that is not black counts.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.models.slice_preparation import SIZE_PX
from inference.training.cases.base import Case
from inference.training.cases.palette import checked_palette, palette_of

_CT = "_ct.png"


class PngPairs:
    """A ``CaseReader``."""

    def recognises(self, folder: Path) -> bool:
        """Whether the folder holds a CT picture."""
        return any(folder.glob(f"*{_CT}"))

    def read(self, folder: Path) -> Case:
        """All pictures of one patient. Raises ``ValueError`` naming a picture of another size or without a mask."""
        grey, palette = [], []
        for ct in sorted(folder.glob(f"*{_CT}")):
            grey.append(np.asarray(Image.open(ct).convert("L")))
            palette.append(_palette(ct))
            if grey[-1].shape != (SIZE_PX, SIZE_PX) or palette[-1].shape != (SIZE_PX, SIZE_PX):
                raise ValueError(f"{ct} or its mask is not {SIZE_PX}×{SIZE_PX}")
        return Case(name=folder.name, slices=np.stack(grey), palette=np.stack(palette))


def _palette(ct: Path) -> NDArray[np.uint8]:
    mask, lung, lesion = (
        ct.with_name(ct.name.removesuffix(_CT) + f"_{kind}.png") for kind in ("mask", "lung", "lesion")
    )
    if mask.exists():
        return checked_palette(np.asarray(Image.open(mask)), mask)
    missing = [each.name for each in (lung, lesion) if not each.exists()]
    if missing:
        raise ValueError(f"{ct} has no mask beside it: there is no {mask.name}, and no {' nor '.join(missing)} either")
    lungs, lesions = _marked(lung), _marked(lesion)
    if lungs.shape != lesions.shape:
        raise ValueError(f"{lung} and {lesion.name} differ in size")
    return palette_of(lungs=lungs, lesions=lesions)


def _marked(path: Path) -> NDArray[np.bool_]:
    """What is not 0; in a picture with colours or transparency: what is not black."""
    picture = Image.open(path)
    if picture.mode in ("RGB", "RGBA", "LA", "PA"):
        return np.asarray(np.asarray(picture.convert("RGB")).max(axis=-1) > 0)
    return np.asarray(picture) > 0
