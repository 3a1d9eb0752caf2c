"""A regularly sampled CT volume with true patient geometry.

Owns the one representation of image geometry that the model side knows. It must not know where the
slices came from; ``dicom_node.volumes`` builds it. Convention of the affine: PS3.3 C.7.6.2.1.1
(equation C.7.6.2.1-1), extended to a third, slice, axis.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HU_AIR = -1024
"""Hounsfield value written where a scanner stored padding (outside the reconstruction circle)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """CT numbers on a regular, right-angled grid.

    ``array_zyx``: int16 Hounsfield units, shape (slices, rows, columns), C order. Index z counts along the
    slice normal in the order of the affine's third column, never in order of Instance Number.

    ``index_to_patient``: float64 4x4. Multiplies the column (column index i, row index j, slice index k, 1)
    and gives (x, y, z, 1) in mm, LPS, of the voxel *centre*.

    ``frame_of_reference_uid``: Frame of Reference UID (0020,0052) that the coordinates live in.

    Raises ``ValueError`` where the array or the affine is not of that form.
    """

    array_zyx: NDArray[np.int16]
    index_to_patient: NDArray[np.float64]
    frame_of_reference_uid: str

    def __post_init__(self) -> None:
        if self.array_zyx.ndim != 3 or self.array_zyx.dtype != np.int16:
            raise ValueError(f"array_zyx must be 3-D int16, not {self.array_zyx.ndim}-D {self.array_zyx.dtype}")
        if self.index_to_patient.shape != (4, 4) or not np.isfinite(self.index_to_patient).all():
            raise ValueError("index_to_patient must be a finite 4x4 matrix")
        if abs(np.linalg.det(self.index_to_patient[:3, :3])) == 0.0:
            raise ValueError("index_to_patient is singular: two axes of the grid coincide")

    @property
    def spacing_xyz_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along columns, rows and slices, in mm."""
        x, y, z = np.linalg.norm(self.index_to_patient[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.index_to_patient[:3, :3]))) / 1000.0

    def patient_mm(self, *, index_ijk: tuple[float, float, float]) -> tuple[float, float, float]:
        """Patient position (LPS, mm) of a voxel index given as (column, row, slice)."""
        x, y, z, _ = self.index_to_patient @ np.array([*index_ijk, 1.0])
        return float(x), float(y), float(z)
