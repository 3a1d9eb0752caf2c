"""Chest CT phantoms in Hounsfield units, with their truth.

Owns synthetic patients: for the demonstration, for tests on machines without real data, and as extra
training material for the lung models. Shapes are analytic (``anatomy``), vessels and airways are grown
(``trees``), lesions are noisy ellipsoids under the pleura (``lesions``), and ``scanner`` adds what a
reconstruction adds. Everything comes from one seed: the same arguments give the same voxels.

Grid: head-first supine, columns along +x (the patient's left), rows along +y (posterior), slices along +z:
slice 0 is the most caudal one. Believable to a network, not a model of any person.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.phantoms.anatomy import LOWEST_Z_MM, SCAN_LENGTH_MM, Anatomy
from inference.phantoms.fields import NoiseField
from inference.phantoms.lesions import Lesions
from inference.phantoms.painting import SlicePainter
from inference.phantoms.scanner import Scanner
from inference.phantoms.trees import grow_trees
from inference.volume import Volume

FRAME_OF_REFERENCE_UID = "2.25.0"
"""Placeholder: whoever writes a phantom as DICOM mints the real one."""
MINIMUM_SIZE_PX = 64
"""Smaller pictures hold no recognisable anatomy."""

THICKEST_SLICE_MM = 3.0
"""Slices further apart than this leave gaps between them, as high-resolution protocols do."""
SEPTA_MM = 14.0
"""Size of the lobules between thickened septa."""
TEXTURE_MM = 6.0
"""Grain of lung tissue and of lesions."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phantom:
    """A synthetic chest CT and what is true of it; all masks are bool in the shape of ``volume.array_zyx``.

    Lungs hold their lesions but not the large vessels and airways of the hilum, as people outline them.
    ``infected`` lies inside the lungs. ``clots`` lie in the pulmonary arteries, in the lungs or not; ``None`` where
    nobody can tell, because the arteries hold no contrast.
    """

    volume: Volume
    left_lung: NDArray[np.bool_]
    right_lung: NDArray[np.bool_]
    infected: NDArray[np.bool_]
    slice_thickness_mm: float
    """What a slice averages; less than the distance of slices where that is large."""
    clots: NDArray[np.bool_] | None = None


def chest_ct(*, seed: int, slices: int = 60, size_px: int = 512, normal: bool = False) -> Phantom:
    """A chest CT without contrast; ``normal`` leaves the lesions out.

    The slices divide the length of the chest evenly, so their number sets their distance (60: 5 mm).
    Raises ``ValueError`` for fewer than one slice or a picture smaller than ``MINIMUM_SIZE_PX``.
    """
    if slices < 1 or size_px < MINIMUM_SIZE_PX:
        raise ValueError(f"a phantom needs at least 1 slice of {MINIMUM_SIZE_PX} pixels, not {slices} of {size_px}")
    rng = np.random.default_rng(seed)
    anatomy = Anatomy.draw(rng)
    trees = grow_trees(anatomy, rng)
    lesions = Lesions.none() if normal else Lesions.draw(anatomy, rng)
    scanner = Scanner.draw(anatomy, rng, size_px=size_px)
    spacing_z_mm = SCAN_LENGTH_MM / slices
    thickness_mm = min(spacing_z_mm, THICKEST_SLICE_MM)
    painter = SlicePainter(
        anatomy=anatomy,
        trees=trees,
        lesions=lesions,
        scanner=scanner,
        texture=NoiseField.draw(rng, wavelength_mm=TEXTURE_MM, waves=48),
        septa=NoiseField.draw(rng, wavelength_mm=SEPTA_MM, waves=32),
        thickness_mm=thickness_mm,
    )

    array_zyx = np.empty((slices, size_px, size_px), np.int16)
    left, right, infected = (np.empty(array_zyx.shape, np.bool_) for _ in range(3))
    first_z_mm = LOWEST_Z_MM + spacing_z_mm / 2
    for k in range(slices):
        painted = painter.paint(first_z_mm + k * spacing_z_mm)
        array_zyx[k] = scanner.acquire(painted.hu, rng)
        left[k], right[k], infected[k] = painted.left_lung, painted.right_lung, painted.infected

    index_to_patient = np.diag([scanner.pixel_mm, scanner.pixel_mm, spacing_z_mm, 1.0])
    index_to_patient[:3, 3] = (*scanner.first_pixel_mm, first_z_mm)
    volume = Volume(
        array_zyx=array_zyx, index_to_patient=index_to_patient, frame_of_reference_uid=FRAME_OF_REFERENCE_UID
    )
    return Phantom(volume=volume, left_lung=left, right_lung=right, infected=infected, slice_thickness_mm=thickness_mm)
