"""The layout of the public pictures: a folder a patient with ``NNNN_ct.png`` and ``NNNN_mask.png``.

``ct``: 256×256, 8 bit, equalised as ``slice_preparation`` does. ``mask``: palette, see ``base.py``.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from inference.models.slice_preparation import SIZE_PX
from inference.training.cases.base import Case


class PngPairs:
    """A ``CaseReader``."""

    def recognises(self, folder: Path) -> bool:
        """Whether the folder holds a CT picture."""
        return any(folder.glob("*_ct.png"))

    def read(self, folder: Path) -> Case:
        """All pictures of one patient. Raises ``ValueError`` naming a picture of another size or without a mask."""
        grey, palette = [], []
        for ct in sorted(folder.glob("*_ct.png")):
            mask = ct.with_name(ct.name.replace("_ct.png", "_mask.png"))
            if not mask.exists():
                raise ValueError(f"{ct} has no mask beside it")
            grey.append(np.asarray(Image.open(ct).convert("L")))
            palette.append(np.asarray(Image.open(mask)))
            if grey[-1].shape != (SIZE_PX, SIZE_PX) or palette[-1].shape != (SIZE_PX, SIZE_PX):
                raise ValueError(f"{ct} or its mask is not {SIZE_PX}×{SIZE_PX}")
        return Case(name=folder.name, slices=np.stack(grey), palette=np.stack(palette))
