"""Labelled slices as a recipe wants them: its size, its grey levels, with the lungs that a model found.

Owns every step between a ``Case`` (or a phantom) and the arrays that batches are drawn from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.models.slice_preparation import SIZE_PX, equalise, prepare_slices, stretch_slice
from inference.phantoms import chest_ct
from inference.training.cases.base import LESION, LUNG, Case
from inference.training.recipes.base import Preparation, Recipe, Target

LUNG_WINDOW_HU = (-970, -150)
"""S0: black and white of its grey levels."""
SOURCE_WINDOW_HU = (-1250, 250)
"""Radiopaedia's cases had been cut to about this window before they were stretched."""
PERCENTILES = (1, 99)
"""S3: black and white of its grey levels."""
SMALLEST_HALF_LUNG_PX = 1000
"""Lung in a half picture of 256×256 that is worth mirroring: 20 cm²."""

FindLungs = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""From equalised slices (n, 256, 256) to lungs of the same shape, 0 and 1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """``grey``, ``palette`` and ``lungs``: uint8 (n, size, size); ``patient``: whose each picture is, (n,).

    ``lungs`` is what the lung model found (0 and 1); the reference is in ``palette``.
    """

    grey: NDArray[np.uint8]
    palette: NDArray[np.uint8]
    lungs: NDArray[np.uint8]
    patient: NDArray[np.int64]

    def target(self, target: Target) -> NDArray[np.bool_]:
        """What should be marked."""
        return self.palette >= (LUNG if target is Target.LUNGS else LESION)

    def __len__(self) -> int:
        return len(self.grey)


def prepared(case: Case, recipe: Recipe, find_lungs: FindLungs, *, patient: int = 0) -> Pictures:
    """A case at the recipe's size and grey levels; recipes for lesions leave out slices without lung (S0)."""
    lungs = find_lungs(equalised(case))
    kept = (case.palette >= LUNG).any(axis=(1, 2)) | (recipe.target is Target.LUNGS)
    grey = _grey_levels(case, recipe.preparation)
    return Pictures(
        grey=_resized(grey[kept], recipe.size_px),
        palette=_resized(case.palette[kept], recipe.size_px),
        lungs=_resized(lungs[kept], recipe.size_px),
        patient=np.full(int(kept.sum()), patient),
    )


def prepared_cases(cases: Sequence[Case], recipe: Recipe, find_lungs: FindLungs) -> Pictures:
    """Several patients, one after another, numbered in their order."""
    return joined([prepared(case, recipe, find_lungs, patient=number) for number, case in enumerate(cases)])


def equalised(case: Case) -> NDArray[np.uint8]:
    """The slices as the served models see them: (n, 256, 256)."""
    if not case.in_hounsfield_units:
        return case.slices.astype(np.uint8, copy=False)
    return prepare_slices(case.slices.astype(np.int16, copy=False))[:, 0].astype(np.uint8)


def joined(parts: Sequence[Pictures]) -> Pictures:
    """One after another."""
    return Pictures(
        grey=np.concatenate([part.grey for part in parts]),
        palette=np.concatenate([part.palette for part in parts]),
        lungs=np.concatenate([part.lungs for part in parts]),
        patient=np.concatenate([part.patient for part in parts]),
    )


def phantom_cases(*, seeds: Sequence[int], slices: int) -> list[Case]:
    """Phantoms, every second one without lesions, equalised as DICOM is at run time.

    Every third one is cut to a lung window first, as a part of the public cases was.
    """
    cases = []
    for seed in seeds:
        phantom = chest_ct(seed=seed, slices=slices, size_px=SIZE_PX, normal=seed % 2 == 1)
        array_zyx = phantom.volume.array_zyx
        if seed % 3 == 0:
            array_zyx = np.clip(array_zyx, *SOURCE_WINDOW_HU)
            grey = np.stack([equalise(stretch_slice(one)) for one in array_zyx])
        else:
            grey = prepare_slices(array_zyx)[:, 0].astype(np.uint8)
        lungs = phantom.left_lung | phantom.right_lung
        palette = np.where(phantom.infected, LESION, lungs * LUNG).astype(np.uint8)
        cases.append(Case(name=f"phantom {seed}", slices=grey, palette=palette))
    return cases


def mirrored_normals(pictures: Pictures) -> Pictures:
    """Lesion-free pictures made of real ones: the half without lesion, and its mirror image in place of the other.

    Every public picture holds lesion; a model that saw nothing else would learn to find one in each. May be empty.
    """
    grey, palette, lungs, patient = [], [], [], []
    size = pictures.grey.shape[-1]
    smallest = SMALLEST_HALF_LUNG_PX * (size / SIZE_PX) ** 2
    for number, mask in enumerate(pictures.palette):
        columns = np.flatnonzero((mask >= LUNG).any(axis=0))
        if not len(columns):
            continue
        middle = int(columns[0] + columns[-1] + 1) // 2
        for flip in (1, -1):  # the left half of the picture, then the right one
            truth, axis = mask[:, ::flip], middle if flip == 1 else size - middle
            half = truth[:, :axis]
            if (half >= LESION).any() or np.count_nonzero(half) < smallest:
                continue
            grey.append(_mirrored(pictures.grey[number][:, ::flip], axis))
            palette.append(_mirrored(truth, axis))
            lungs.append(_mirrored(pictures.lungs[number][:, ::flip], axis))
            patient.append(pictures.patient[number])
    if not grey:
        return Pictures(**{name: getattr(pictures, name)[:0] for name in ("grey", "palette", "lungs", "patient")})
    return Pictures(
        grey=np.stack(grey), palette=np.stack(palette), lungs=np.stack(lungs), patient=np.array(patient, np.int64)
    )


def _mirrored(picture: NDArray[np.uint8], axis: int) -> NDArray[np.uint8]:
    """Columns from ``axis`` on replaced by the mirror image of those before; zero where there is nothing to mirror."""
    result = np.zeros_like(picture)
    result[:, :axis] = picture[:, :axis]
    width = min(axis, picture.shape[1] - axis)
    result[:, axis : axis + width] = picture[:, axis - width : axis][:, ::-1]
    return result


def _grey_levels(case: Case, preparation: Preparation) -> NDArray[np.uint8]:
    if preparation is Preparation.PERCENTILES:
        return _stretched(case.slices, *np.percentile(case.slices, PERCENTILES))
    if preparation is Preparation.LUNG_WINDOW and case.in_hounsfield_units:
        return _stretched(case.slices, *LUNG_WINDOW_HU)
    return equalised(case)


def _stretched(slices: NDArray[np.int16] | NDArray[np.uint8], black: float, white: float) -> NDArray[np.uint8]:
    scaled = (slices.astype(np.float32) - black) * (255 / max(white - black, 1.0))
    return scaled.clip(0, 255).astype(np.uint8)


def _resized(pictures: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Nearest neighbour, as S0 does; masks have no values between."""
    if pictures.shape[1:] == (size, size):
        return pictures
    result = np.empty((len(pictures), size, size), np.uint8)
    for target, picture in zip(result, pictures, strict=True):
        cv2.resize(picture, (size, size), dst=target, interpolation=cv2.INTER_NEAREST)
    return result
