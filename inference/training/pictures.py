"""Labelled pictures: folders of PNG pairs, and slices of phantoms prepared in the same way.

A folder holds one folder a patient with ``NNNN_ct.png`` (256×256, 8 bit, equalised as ``slice_preparation`` does) and
``NNNN_mask.png`` (palette: 0 background, 1 lung, 2 lesion, 3 lesion outside the lung).
"""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.models.slice_preparation import SIZE_PX, equalise, prepare_slices, stretch_slice
from inference.phantoms import chest_ct

LUNG, LESION = 1, 2
"""Palette: lung from 1 on, lesion from 2 on."""
SPLITS = Path(__file__).parent / "splits"
SMALLEST_HALF_LUNG_PX = 1000
"""Lung in a half picture that is worth mirroring: 20 cm²."""
LUNG_WINDOW_HU = (-1250, 250)
"""Radiopaedia's cases had been cut to about this window before they were stretched."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """``grey`` and ``palette``: uint8 (n, 256, 256)."""

    grey: NDArray[np.uint8]
    palette: NDArray[np.uint8]

    def target(self, model: str) -> NDArray[np.bool_]:
        """What the model of that name should mark."""
        return self.palette >= (LUNG if model == "lungs_unet" else LESION)


def cases_of(folder: Path) -> tuple[str, ...]:
    """Names of the patients in a folder of PNG pairs."""
    return tuple(sorted(case.name for case in folder.iterdir() if any(case.glob("*_ct.png"))))


def read_split(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Patients for training and for validation of a committed split."""
    split = tomllib.loads((SPLITS / f"{name}.toml").read_text(encoding="utf-8"))
    return tuple(split["train"]), tuple(split["validation"])


def read_case(folder: Path) -> Pictures:
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
    return Pictures(grey=np.stack(grey), palette=np.stack(palette))


def read_cases(folder: Path, cases: Iterable[str]) -> Pictures:
    """The pictures of several patients, one after another."""
    return joined([read_case(folder / case) for case in cases])


def joined(parts: Sequence[Pictures]) -> Pictures:
    """One after another."""
    return Pictures(
        grey=np.concatenate([part.grey for part in parts]), palette=np.concatenate([part.palette for part in parts])
    )


def phantom_pictures(*, seeds: Sequence[int], slices: int) -> Pictures:
    """Slices of phantoms, every second one without lesions, prepared as DICOM is at run time.

    Every third phantom is cut to a lung window first, as a part of the public cases was.
    """
    grey, palette = [], []
    for seed in seeds:
        phantom = chest_ct(seed=seed, slices=slices, size_px=SIZE_PX, normal=seed % 2 == 1)
        array_zyx = phantom.volume.array_zyx
        if seed % 3 == 0:
            array_zyx = np.clip(array_zyx, *LUNG_WINDOW_HU)
            grey += [equalise(stretch_slice(one)) for one in array_zyx]
        else:
            grey += list(prepare_slices(array_zyx)[:, 0].astype(np.uint8))
        lungs = phantom.left_lung | phantom.right_lung
        palette += list(np.where(phantom.infected, LESION, lungs * LUNG).astype(np.uint8))
    return Pictures(grey=np.stack(grey), palette=np.stack(palette))


def mirrored_normals(pictures: Pictures) -> Pictures:
    """Lesion-free pictures made of real ones: the half without lesion, and its mirror image in place of the other.

    Every public picture holds lesion; a model that saw nothing else would learn to find one in each. May be empty.
    """
    grey, palette = [], []
    for one, mask in zip(pictures.grey, pictures.palette, strict=True):
        columns = np.flatnonzero((mask >= LUNG).any(axis=0))
        if not len(columns):
            continue
        middle = int(columns[0] + columns[-1] + 1) // 2
        for flip in (1, -1):  # the left half of the picture, then the right one
            seen, truth, axis = one[:, ::flip], mask[:, ::flip], middle if flip == 1 else SIZE_PX - middle
            half = truth[:, :axis]
            if (half >= LESION).any() or np.count_nonzero(half) < SMALLEST_HALF_LUNG_PX:
                continue
            grey.append(_mirrored(seen, axis))
            palette.append(_mirrored(truth, axis))
    if not grey:
        return Pictures(grey=pictures.grey[:0], palette=pictures.palette[:0])
    return Pictures(grey=np.stack(grey), palette=np.stack(palette))


def _mirrored(picture: NDArray[np.uint8], axis: int) -> NDArray[np.uint8]:
    """Columns from ``axis`` on replaced by the mirror image of those before; zero where there is nothing to mirror."""
    result = np.zeros_like(picture)
    result[:, :axis] = picture[:, :axis]
    width = min(axis, picture.shape[1] - axis)
    result[:, axis : axis + width] = picture[:, axis - width : axis][:, ::-1]
    return result


def save_overlay(path: Path, grey: NDArray[np.uint8], mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> None:
    """A picture for people: result in red, truth in green."""
    colour = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    for marked, bgr in ((truth, (0, 255, 0)), (mask, (0, 0, 255))):
        contours, _ = cv2.findContours(marked.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(colour, contours, -1, bgr, 1)
    cv2.imwrite(str(path), colour)
