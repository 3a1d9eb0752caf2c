"""The grid on which masks are cleaned: pictures reduced to the size that the models see.

Owns the way there and back. Components, erosion and the like cost in proportion to voxels, and the models'
labels hold no more detail than this; results are enlarged once, at the end, with smooth contours.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.volume import Volume

Box = tuple[slice, slice, slice]
"""Along slices, rows and columns."""

LARGEST_PX = 256
"""Rows or columns of the working grid at most: what the models see."""


def reduced(volume: Volume) -> Volume:
    """The same space with rows and columns averaged to at most ``LARGEST_PX``; slices are kept."""
    slices, rows, columns = volume.array_zyx.shape
    factor = max(1.0, max(rows, columns) / LARGEST_PX)
    small_rows, small_columns = max(1, round(rows / factor)), max(1, round(columns / factor))
    if (small_rows, small_columns) == (rows, columns):
        return volume
    array_zyx = np.empty((slices, small_rows, small_columns), np.int16)
    for small, large in zip(array_zyx, volume.array_zyx, strict=True):
        cv2.resize(large, (small_columns, small_rows), dst=small, interpolation=cv2.INTER_AREA)
    scale_x, scale_y = columns / small_columns, rows / small_rows
    to_large = np.diag([scale_x, scale_y, 1.0, 1.0])
    to_large[:2, 3] = (scale_x - 1) / 2, (scale_y - 1) / 2  # centre of the first cell in the large grid
    return Volume(
        array_zyx=array_zyx,
        index_to_patient=volume.index_to_patient @ to_large,
        frame_of_reference_uid=volume.frame_of_reference_uid,
    )


def thinned(volume: Volume, every: int) -> Volume:
    """Every so manieth slice, the first included."""
    if every == 1:
        return volume
    return Volume(
        array_zyx=volume.array_zyx[::every],
        index_to_patient=volume.index_to_patient @ np.diag([1.0, 1.0, float(every), 1.0]),
        frame_of_reference_uid=volume.frame_of_reference_uid,
    )


def spread(mask: NDArray[np.bool_], every: int, slices: int) -> NDArray[np.bool_]:
    """A mask of a ``thinned`` volume on all its ``slices``: each has the mask of the nearest one that was kept."""
    if every == 1:
        return mask
    return mask[np.minimum((np.arange(slices) + every // 2) // every, len(mask) - 1)]


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """The smallest box that holds a mask; ``None`` for an empty mask."""
    bounds = []
    for others in ((1, 2), (0, 2), (0, 1)):
        used = np.flatnonzero(np.count_nonzero(mask, axis=others))
        if not len(used):
            return None
        bounds.append(slice(int(used[0]), int(used[-1]) + 1))
    z, y, x = bounds
    return z, y, x


def cropped(volume: Volume, box: Box) -> Volume:
    """A part of a volume, at its place in the patient."""
    z, y, x = box
    index_to_patient = volume.index_to_patient.copy()
    index_to_patient[:3, 3] = volume.patient_mm(index_ijk=(x.start, y.start, z.start))
    return Volume(
        array_zyx=volume.array_zyx[box],
        index_to_patient=index_to_patient,
        frame_of_reference_uid=volume.frame_of_reference_uid,
    )


def enlarged(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask of the working grid on the source grid: linear between cells, cut at one half."""
    if mask.shape == shape:
        return mask
    result = np.zeros(shape, np.bool_)
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        smooth = cv2.resize(
            mask[k].astype(np.uint8) * np.uint8(254), (shape[2], shape[1]), interpolation=cv2.INTER_LINEAR
        )
        np.greater(smooth, 127, out=result[k])
    return result
