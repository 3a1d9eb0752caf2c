"""CT pulmonary angiograms in Hounsfield units, with their emboli.

Owns the choice of what one synthetic patient has: contrast phase, clots, COVID-like lesions in half of the patients
(the question that Kiourt et al. 2021 asked is emboli beside them), look-alikes. Everything follows from one seed. The
grid is that of ``inference.phantoms``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.phantoms import (
    FRAME_OF_REFERENCE_UID,
    MINIMUM_SIZE_PX,
    SEPTA_MM,
    TEXTURE_MM,
    THICKEST_SLICE_MM,
    Phantom,
)
from inference.phantoms.anatomy import LOWEST_Z_MM, SCAN_LENGTH_MM, Anatomy
from inference.phantoms.angiogram import AngiogramPainter, ContrastPhase, Lookalikes, PaintedAngiogram, base_trees
from inference.phantoms.emboli import draw_clots
from inference.phantoms.fields import NoiseField
from inference.phantoms.lesions import Lesions
from inference.phantoms.painting import SlicePainter
from inference.phantoms.pulmonary_vessels import grow_pulmonary_vessels
from inference.phantoms.scanner import Scanner
from inference.phantoms.trees import grow_airways
from inference.volume import Volume

LESIONS_CHANCE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AngiogramPatient:
    """One patient on one scanner: any slice can be had, in any order."""

    anatomy: Anatomy
    scanner: Scanner
    painter: AngiogramPainter

    @classmethod
    def draw(cls, *, seed: int, size_px: int = 512, thickness_mm: float, normal: bool = False) -> "AngiogramPatient":
        """The patient of that seed; ``normal`` leaves the clots out and nothing else."""
        rng = np.random.default_rng((seed, 1))  # chest_ct has the patients of the bare seeds
        anatomy = Anatomy.draw(rng)
        airways = grow_airways(anatomy, rng)
        vessels = grow_pulmonary_vessels(anatomy, rng)
        lesions = Lesions.draw(anatomy, rng) if rng.uniform() < LESIONS_CHANCE else Lesions.none()
        scanner = Scanner.draw(anatomy, rng, size_px=size_px)
        base = SlicePainter(
            anatomy=anatomy,
            trees=base_trees(airways),
            lesions=lesions,
            scanner=scanner,
            texture=NoiseField.draw(rng, wavelength_mm=TEXTURE_MM, waves=48),
            septa=NoiseField.draw(rng, wavelength_mm=SEPTA_MM, waves=32),
            thickness_mm=thickness_mm,
        )
        phase, lookalikes = ContrastPhase.draw(rng), Lookalikes.draw(vessels, airways, rng)
        clots = () if normal else draw_clots(vessels.arteries, rng)
        painter = AngiogramPainter(base=base, vessels=vessels, clots=clots, phase=phase, lookalikes=lookalikes)
        return cls(anatomy=anatomy, scanner=scanner, painter=painter)

    def slice_at(self, z: float, rng: np.random.Generator) -> tuple[NDArray[np.int16], PaintedAngiogram]:
        """Stored CT numbers of the slice whose centre lies at ``z`` mm, and what is true of it."""
        painted = self.painter.paint(z)
        return self.scanner.acquire(painted.hu, rng), painted


def ctpa(*, seed: int, slices: int = 100, size_px: int = 512, normal: bool = False) -> Phantom:
    """A CT pulmonary angiogram; ``normal`` leaves the emboli out.

    The slices divide the length of the chest evenly (100: 3 mm). Raises ``ValueError`` for fewer than one slice or
    a picture smaller than ``MINIMUM_SIZE_PX``.
    """
    if slices < 1 or size_px < MINIMUM_SIZE_PX:
        raise ValueError(f"a phantom needs at least 1 slice of {MINIMUM_SIZE_PX} pixels, not {slices} of {size_px}")
    spacing_z_mm = SCAN_LENGTH_MM / slices
    thickness_mm = min(spacing_z_mm, THICKEST_SLICE_MM)
    patient = AngiogramPatient.draw(seed=seed, size_px=size_px, thickness_mm=thickness_mm, normal=normal)
    rng = np.random.default_rng((seed, 2))
    array_zyx = np.empty((slices, size_px, size_px), np.int16)
    left, right, infected, clots = (np.empty(array_zyx.shape, np.bool_) for _ in range(4))
    first_z_mm = LOWEST_Z_MM + spacing_z_mm / 2
    for k in range(slices):
        array_zyx[k], painted = patient.slice_at(first_z_mm + k * spacing_z_mm, rng)
        left[k], right[k] = painted.left_lung, painted.right_lung
        infected[k], clots[k] = painted.infected, painted.clots
    pixel_mm = patient.scanner.pixel_mm
    index_to_patient = np.diag([pixel_mm, pixel_mm, spacing_z_mm, 1.0])
    index_to_patient[:3, 3] = (*patient.scanner.first_pixel_mm, first_z_mm)
    return Phantom(
        volume=Volume(
            array_zyx=array_zyx, index_to_patient=index_to_patient, frame_of_reference_uid=FRAME_OF_REFERENCE_UID
        ),
        left_lung=left,
        right_lung=right,
        infected=infected,
        clots=clots,
        slice_thickness_mm=thickness_mm,
    )
