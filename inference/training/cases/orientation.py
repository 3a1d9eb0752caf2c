"""A volume in any orientation as axial slices in the one order that ``base.Case`` promises.

Nothing is resampled: axes are exchanged and reversed, so that each runs as nearly as it can along its patient axis.
An oblique volume stays as oblique as it was.
"""

from itertools import permutations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Voxel = TypeVar("_Voxel", bound=np.generic)


def axial_slices(array_zyx: NDArray[_Voxel], index_to_patient: NDArray[np.float64]) -> NDArray[_Voxel]:
    """Slices from caudal to cranial, rows from front to back, columns from the patient's right to left.

    ``index_to_patient``: 4×4, (column, row, slice, 1) to LPS in mm, as in ``inference.volume.Volume``. Gives a view.
    """
    directions = index_to_patient[:3, :3] / np.linalg.norm(index_to_patient[:3, :3], axis=0)
    # axes[p] is the index axis (0 column, 1 row, 2 slice) that runs most along patient axis p (left, back, head).
    axes = max(permutations(range(3)), key=lambda tried: float(np.abs(directions[range(3), tried]).sum()))
    reordered = array_zyx.transpose([2 - axes[patient] for patient in (2, 1, 0)])
    reversed_axes = [patient for patient in range(3) if directions[patient, axes[patient]] < 0]
    return np.flip(reordered, axis=tuple(2 - patient for patient in reversed_axes))
