"""From what a lung model marked to a left and a right lung, or to the reason why there are none.

Owns the plausibility of lungs (size, height, density, place) and the division into sides. Works on the
models' grid. Sides follow from patient coordinates, never from the side of the picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.working_grid import bounding_box, cropped
from inference.volume import Volume

Mask3D = NDArray[np.bool_]

SMALLEST_PART_ML = 15.0
"""Smaller loose parts are not lung: bowel gas, trachea, specks. Lobes cut off by consolidation are larger."""
SMALLEST_LUNGS_ML = 600.0
"""Both together. The bases that an abdominal CT shows stay below; an adult's diseased lungs do not."""
SMALLEST_HEIGHT_MM = 100.0
"""From lung base to top; the bases that an abdominal CT shows are lower."""
AERATED_HU = (-950, -500)
"""Density of lung tissue that holds air; gas in bowel and trachea lies under it."""
SMALLEST_AERATED_SHARE = 0.15
"""Of a part of a lung. Below that it is an organ or gas. Severely consolidated lungs keep more than this."""
GAS_HU = -950
"""Air outside the body and in bowel lies below."""
LARGEST_GAS_SHARE = 0.5
"""Of a part of a lung: more is air beside the body (below a raised arm, say). Even severe emphysema stays below."""
BRIGHT_HU = 200
"""Bone, metal and vessels full of contrast medium lie above."""
LARGEST_BRIGHT_SHARE = 0.25
"""Of a part of a lung: more is no lung, even where all its vessels hold contrast medium."""
FAT_HU = (-150, -20)
LARGEST_FAT_SHARE = 0.5
"""Of what is marked in one piece in one slice: more is fat (armpit, behind the kidneys). Consolidation is denser."""
BODY_HU = -300
"""Soft tissue and bone lie above."""
SMALLEST_SIDE_SHARE = 0.08
"""Of the volume of both lungs that one lung holds at least, to count as found."""
SIDES_APART_MM = 50.0
"""Left-right distance between the middles of two lungs at least."""
LARGEST_SHARE_BEYOND_MIDDLE = 0.2
"""Of a lung, on the other's side of the middle between both. More is two lungs that touch, taken for one, beside a lobe
that consolidation has cut off."""
_ERODE_MM = (0.0, 2.0, 4.0, 7.0, 10.0)
"""Tried in turn until lungs that touch fall apart."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lungs:
    """Left and right lung; one of them may be empty."""

    left: Mask3D
    right: Mask3D


class NoLungs(Exception):
    """The volume does not show lungs that can be analysed; the message says why."""


def find_lungs(marked: Mask3D, volume: Volume) -> Lungs:
    """The lungs among the marked voxels of ``volume`` (same grid). Raises ``NoLungs``."""
    box = bounding_box(marked)
    if box is None:
        raise NoLungs("no lungs found: this does not look like a chest CT")
    inner = cropped(volume, box)
    lungs = _plausible_parts(marked[box], inner)
    millilitres = np.count_nonzero(lungs) * volume.voxel_ml
    height_mm = _height_mm(lungs, inner)
    if millilitres < SMALLEST_LUNGS_ML or height_mm < SMALLEST_HEIGHT_MM:
        raise NoLungs(
            f"no lungs found that can be analysed: {millilitres:.0f} ml of lung over {height_mm:.0f} mm of height, "
            f"while a chest CT shows at least {SMALLEST_LUNGS_ML:.0f} ml over {SMALLEST_HEIGHT_MM:.0f} mm"
        )
    left = np.zeros(marked.shape, np.bool_)
    right = np.zeros(marked.shape, np.bool_)
    left[box], right[box] = _sides(lungs, inner, whole=volume)
    return Lungs(left=left, right=right)


def _plausible_parts(marked: Mask3D, volume: Volume) -> Mask3D:
    """Without loose parts that are too small or have not the density of lung."""
    marked = _without_fat(marked, volume)
    labels, count = ndimage.label(marked)
    cells = np.bincount(labels.ravel(), minlength=count + 1)
    aerated = marked & (volume.array_zyx > AERATED_HU[0]) & (volume.array_zyx < AERATED_HU[1])
    aerated_cells = np.bincount(labels[aerated], minlength=count + 1)
    gas_cells = np.bincount(labels[marked & (volume.array_zyx <= GAS_HU)], minlength=count + 1)
    bright_cells = np.bincount(labels[marked & (volume.array_zyx > BRIGHT_HU)], minlength=count + 1)
    kept = (cells * volume.voxel_ml >= SMALLEST_PART_ML) & (aerated_cells >= SMALLEST_AERATED_SHARE * cells)
    kept &= (gas_cells <= LARGEST_GAS_SHARE * cells) & (bright_cells <= LARGEST_BRIGHT_SHARE * cells)
    kept[0] = False
    plausible: Mask3D = kept[labels]
    return plausible


def _without_fat(marked: Mask3D, volume: Volume) -> Mask3D:
    """Without pieces of single slices that are mostly fat, which may hang on a lung in the slices beside."""
    result = marked.copy()
    fat = marked & (volume.array_zyx > FAT_HU[0]) & (volume.array_zyx < FAT_HU[1])
    for k in np.flatnonzero(fat.any(axis=(1, 2))):
        count, labels = cv2.connectedComponents(marked[k].astype(np.uint8), connectivity=4)
        cells = np.bincount(labels.ravel(), minlength=count)
        dropped = np.bincount(labels[fat[k]], minlength=count) > LARGEST_FAT_SHARE * cells
        dropped[0] = False
        result[k] &= ~dropped[labels]
    return result


def _sides(lungs: Mask3D, volume: Volume, *, whole: Volume) -> tuple[Mask3D, Mask3D]:
    """Left and right, by the two largest parts where there are two, else by erosion, else by the body's middle."""
    straddling = None
    for erode_mm in _ERODE_MM:
        seeds = _two_seeds(_eroded(lungs, erode_mm, volume), volume)
        if seeds is None:
            continue
        if _share_beyond_middle(*seeds, volume) <= LARGEST_SHARE_BEYOND_MIDDLE:
            return _grown(lungs, *seeds, volume)
        straddling = straddling or seeds
    if straddling is not None:
        return _grown(lungs, *straddling, volume)
    return _by_middle(lungs, volume, body_x_mm=_middle_x_mm(whole.array_zyx > BODY_HU, whole))


def _two_seeds(parts: Mask3D, volume: Volume) -> tuple[Mask3D, Mask3D] | None:
    """The two largest parts as (left, right), where they can be the two lungs."""
    labels, count = ndimage.label(parts)
    if count < 2:
        return None
    cells = np.bincount(labels.ravel())
    cells[0] = 0
    first, second = (int(label) for label in np.argsort(cells)[:-3:-1])
    if cells[second] < SMALLEST_SIDE_SHARE * cells.sum():
        return None
    one, other = labels == first, labels == second
    distance_mm = _middle_x_mm(one, volume) - _middle_x_mm(other, volume)
    if abs(distance_mm) < SIDES_APART_MM:
        return None
    return (one, other) if distance_mm > 0 else (other, one)  # LPS: x grows towards the patient's left


def _share_beyond_middle(left: Mask3D, right: Mask3D, volume: Volume) -> float:
    """The larger share of one of both that lies beyond the middle between them."""
    middle_mm = (_middle_x_mm(left, volume) + _middle_x_mm(right, volume)) / 2
    is_left = np.broadcast_to(_x_mm(volume, left.shape) > middle_mm, left.shape)
    return max(
        np.count_nonzero(left & ~is_left) / np.count_nonzero(left),
        np.count_nonzero(right & is_left) / np.count_nonzero(right),
    )


def _grown(lungs: Mask3D, left: Mask3D, right: Mask3D, volume: Volume) -> tuple[Mask3D, Mask3D]:
    """Every other voxel to the nearer of both in its slice; where a slice lacks one, by the middle between them."""
    middle_mm = (_middle_x_mm(left, volume) + _middle_x_mm(right, volume)) / 2
    is_left = _x_mm(volume, lungs.shape) > middle_mm
    left, right = left.copy(), right.copy()
    rest = lungs & ~left & ~right
    for k in np.flatnonzero(rest.any(axis=(1, 2))):
        if left[k].any() and right[k].any():
            nearer_left = _distance(left[k]) < _distance(right[k])
        else:
            nearer_left = np.broadcast_to(is_left[k if len(is_left) > 1 else 0], rest[k].shape)
        left[k] |= rest[k] & nearer_left
        right[k] |= rest[k] & ~nearer_left
    return left, right


def _by_middle(lungs: Mask3D, volume: Volume, *, body_x_mm: float) -> tuple[Mask3D, Mask3D]:
    """By the middle of the body. A side with next to nothing on it is left empty: there is one lung."""
    is_left = np.broadcast_to(_x_mm(volume, lungs.shape) > body_x_mm, lungs.shape)
    left, right = lungs & is_left, lungs & ~is_left
    cells_left, cells_right = np.count_nonzero(left), np.count_nonzero(right)
    if min(cells_left, cells_right) < SMALLEST_SIDE_SHARE * (cells_left + cells_right):
        none = np.zeros_like(lungs)
        return (lungs, none) if cells_left > cells_right else (none, lungs)
    return left, right


def _eroded(mask: Mask3D, by_mm: float, volume: Volume) -> Mask3D:
    """Eroded within each slice."""
    radius = round(by_mm / min(volume.spacing_xyz_mm[:2]))
    if radius == 0:
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    slices = [cv2.erode(picture, kernel) for picture in mask.view(np.uint8)]
    return np.stack(slices).astype(np.bool_)


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of every pixel from the mask, in pixels."""
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3).astype(np.float32, copy=False)


def _x_mm(volume: Volume, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Patient x of every voxel, broadcastable to ``shape``."""
    along_columns, along_rows, along_slices, start = volume.index_to_patient[0]
    k, j, i = np.ogrid[: shape[0], : shape[1], : shape[2]]
    x: NDArray[np.float64] = along_columns * i + along_rows * j + along_slices * k + start
    return x


def _middle_x_mm(mask: Mask3D, volume: Volume) -> float:
    """Mean patient x of a mask."""
    total = np.count_nonzero(mask)
    if not total:
        return 0.0
    in_slices = np.count_nonzero(mask, axis=(1, 2))
    in_rows, in_columns = mask.sum(axis=0).sum(axis=1), mask.sum(axis=0).sum(axis=0)
    k, j, i = (float((counts * np.arange(len(counts))).sum()) / total for counts in (in_slices, in_rows, in_columns))
    return volume.patient_mm(index_ijk=(i, j, k))[0]


def _height_mm(mask: Mask3D, volume: Volume) -> float:
    """Extent from the feet to the head, counted over slices."""
    occupied = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(occupied):
        return 0.0
    return float(occupied[-1] - occupied[0] + 1) * abs(float(volume.index_to_patient[2, 2]))
