"""Is this a CT pulmonary angiogram that can be read? Decided on the pixels, since tags are wrong or empty too often.

Owns the limits and the place of the pulmonary trunk: to the left of the ascending aorta and in front of the left main
bronchus, which fixes it within the lungs' box. A first, coarse look needs no lungs, so that plain CTs cost no time.

Of motion only steps are judged: places where the anatomy jumps from one slice to the next, as after a cough or with
breathing between the turns of the tube. What blurs or bends smoothly (the heart's beat, a slow breath during a spiral)
changes neighbouring slices no more than anatomy does, and passes.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.pipelines.lung_regions import Lungs
from inference.pipelines.working_grid import bounding_box
from inference.volume import Volume

LARGEST_SLICE_DISTANCE_MM = 3.0
"""Segmental arteries are 4 to 6 mm wide; between slices further apart a clot goes unseen."""
SMALLEST_CONTRAST_HU = 180.0
"""In the trunk. Wittram (AJR 2007) asks for 93 HU to see an acute clot against blood and 211 HU for a chronic one; the
models learned from 250 HU upwards."""
SMOOTHED_MM = 7.0
"""Over which CT numbers are averaged, so that noise, calcium and metal do not count as contrast."""
BRIGHT_SHARE = 0.9
"""The trunk fills more than a tenth of the place where it is looked for."""
BODY_HU = -300
MIDDLE_X_MM, MIDDLE_Y_MM = (-45.0, 45.0), (-50.0, -10.0)
"""What the first look sees of each slice, from the middle of the body; breastbone and spine stay outside."""
BRIGHT_HU, SMALLEST_BRIGHT_ML = 150.0, 30.0
"""In the first look. A real angiogram has 250 ml there, two plain chest CTs have 4 and 8 ml (collar bones, calcium)."""
TRUNK_SHARES = ((-0.04, 0.2), (0.2, 0.56), (0.48, 0.78))
"""Where the trunk lies within the lungs' box, as shares: of its width, from the middle to the patient's left; of its
depth, from the front; of its height, from the base."""

CELL_MM = 4.0
"""Pictures are averaged to cells of this size before neighbouring slices are compared: noise averages out."""
CHANGE_HU = (-1000.0, 200.0)
"""What counts as change between slices; contrast that comes and goes does not."""
AROUND = 3
"""Pairs of neighbouring slices on both sides, whose median change is what is usual there."""
STEP_RATIO = 1.75
"""Change of a pair over what is usual around it. Phantoms at rest stay below 1.25, three real CTs below 1.4; a jump of
5 mm gives 1.7 to 4, the more the closer the slices (``docs/models/embolism.md`` has the figures)."""
SMALLEST_USUAL_HU = 1.0
"""Less change than this is noise, or air above the patient."""
MOST_STEPS = 2
"""A single jump spoils a slice or two, not the series."""


class NotAnAngiogram(Exception):
    """The volume is no CT pulmonary angiogram that can be read; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """What was measured where the trunk is expected."""

    trunk_hu: float


def refuse_wide_slices(volume: Volume) -> None:
    """Raises ``NotAnAngiogram`` where the slices lie too far apart."""
    distance = volume.spacing_xyz_mm[2]
    if round(distance, 2) > LARGEST_SLICE_DISTANCE_MM:
        raise NotAnAngiogram(
            f"not a CT pulmonary angiogram that can be read: slices lie {distance:.1f} mm apart, "
            f"{LARGEST_SLICE_DISTANCE_MM:.0f} mm at most are needed"
        )


def refuse_without_contrast(volume: Volume) -> None:
    """Raises ``NotAnAngiogram`` where nothing between breastbone and spine is as bright as blood with contrast.

    Coarse: heart, aorta and calcium count as well. ``contrast_of`` decides what passes.
    """
    if bright_ml(volume) < SMALLEST_BRIGHT_ML:
        raise NotAnAngiogram("not a CT pulmonary angiogram: no contrast agent in the heart and the great vessels")


def refuse_moved(volume: Volume) -> None:
    """Raises ``NotAnAngiogram`` where the anatomy jumps between neighbouring slices more than ``MOST_STEPS`` times."""
    found = steps(volume)
    if len(found) > MOST_STEPS:
        raise NotAnAngiogram(
            f"not a CT pulmonary angiogram that can be read: the patient moved during the scan, the anatomy jumps "
            f"between neighbouring slices in {len(found)} places"
        )


def steps(volume: Volume) -> NDArray[np.int64]:
    """Slices (indices) that differ from the one before far more than slices around them do from theirs."""
    step_x, step_y, _ = volume.spacing_xyz_mm
    slices, rows, columns = volume.array_zyx.shape
    size = max(1, round(columns * step_x / CELL_MM)), max(1, round(rows * step_y / CELL_MM))
    cells = np.empty((slices, size[1], size[0]), np.float32)
    for small, picture in zip(cells, volume.array_zyx, strict=True):
        small[...] = cv2.resize(np.clip(picture, *CHANGE_HU).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    change = np.abs(np.diff(cells, axis=0)).mean(axis=(1, 2))
    usual = [np.median(change[max(k - AROUND, 0) : k + AROUND + 1]) for k in range(len(change))]
    return np.flatnonzero(change > STEP_RATIO * np.maximum(usual, SMALLEST_USUAL_HU)) + 1


def bright_ml(volume: Volume) -> float:
    """How much is as bright as blood with contrast in the middle of the chest."""
    step_x, step_y, _ = volume.spacing_xyz_mm
    window = (max(1, round(SMOOTHED_MM / step_x)), max(1, round(SMOOTHED_MM / step_y)))
    backwards = 1.0 if volume.index_to_patient[1, 1] > 0 else -1.0
    front, back = sorted(backwards * y_mm / step_y for y_mm in MIDDLE_Y_MM)
    right, left = (x_mm / step_x for x_mm in MIDDLE_X_MM)
    bright = 0
    for picture in volume.array_zyx:
        rows, columns = np.nonzero(picture > BODY_HU)
        if not len(rows):
            continue
        x, y = columns.mean(), rows.mean()
        middle = picture[max(round(y + front), 0) : round(y + back), max(round(x + right), 0) : round(x + left)]
        if middle.size:
            bright += int(np.count_nonzero(cv2.blur(middle.astype(np.float32), window) > BRIGHT_HU))
    return bright * volume.voxel_ml


def contrast_of(volume: Volume, lungs: Lungs) -> Contrast:
    """The contrast in the pulmonary trunk; ``lungs`` on the grid of ``volume``.

    Raises ``NotAnAngiogram`` where there is too little, or a lung is missing that would tell where the trunk is.
    """
    if not lungs.left.any() or not lungs.right.any():
        raise NotAnAngiogram(
            "not a CT pulmonary angiogram that can be read: only one lung was found, so that the pulmonary trunk "
            "cannot be located"
        )
    trunk_hu = _trunk_hu(volume, lungs.left | lungs.right)
    if trunk_hu < SMALLEST_CONTRAST_HU:
        raise NotAnAngiogram(
            f"not a CT pulmonary angiogram: {trunk_hu:.0f} HU where the pulmonary trunk lies, contrast gives at least "
            f"{SMALLEST_CONTRAST_HU:.0f} HU"
        )
    return Contrast(trunk_hu=trunk_hu)


def _trunk_hu(volume: Volume, lungs: NDArray[np.bool_]) -> float:
    """The bright end of the smoothed CT numbers around the trunk's usual place."""
    box = bounding_box(lungs)
    if box is None:
        raise ValueError("no lungs")
    # Shares count towards the patient's left, back and head, whatever way the grid's axes run.
    parts = []
    for axis, (along, (low, high)) in enumerate(zip(box[::-1], TRUNK_SHARES, strict=True)):
        length = along.stop - along.start
        origin = (along.start + along.stop) / 2 if axis == 0 else float(along.start)
        forward = volume.index_to_patient[axis, axis] > 0
        if not forward:
            origin = origin if axis == 0 else float(along.stop)
            low, high = -high, -low
        first, last = (round(origin + share * length) for share in (low, high))
        parts.append(slice(max(first, 0), max(last, 1)))
    columns, rows, slices = parts
    window = [max(1, round(SMOOTHED_MM / spacing)) for spacing in volume.spacing_xyz_mm[:2]]
    place = volume.array_zyx[slices, rows, columns].astype(np.float32)
    smoothed = [cv2.blur(picture, (window[0], window[1])) for picture in place]
    return float(np.quantile(np.stack(smoothed), BRIGHT_SHARE))
