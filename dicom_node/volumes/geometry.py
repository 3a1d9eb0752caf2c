"""From the slices' positions to one ordering and one affine, or to the reason why there is none.

Pure: positions in, an ordering or ``NotAnalysable`` out; no pixels, no files. Slices are ordered by their position
along the normal of the image plane (PS3.3 C.7.6.2.1.1), never by Instance Number or Slice Location, which scanners
and archives renumber. Nothing is averaged away: a missing slice is a refusal, not a stretched patient.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import NotAnalysable
from dicom_node.records import FrameGeometry, FrameSource

ORIENTATION_TOLERANCE = 1e-3
"""Of direction cosines between slices, and from unit length and right angles: half a voxel over 512 columns is 1e-3."""
SPACING_TOLERANCE = 1e-3
"""Relative, of Pixel Spacing between slices: half a voxel over 512 columns; scanners write 4 to 6 digits."""
PLAUSIBLE_SPACING_MM = (0.01, 20.0)
"""Pixel Spacing of anything that a person was put into: 0.05 mm (hand scanners) to a few mm, with room to spare."""
SAME_POSITION_MM = 0.01
"""Nearer slices repeat a position: the thinnest CT reconstructions are 0.1 mm apart."""
REGULAR_DISTANCE_MM = 0.15
"""Deviation of a slice distance from the regular one that is rounding: positions written to 0.1 mm bring 0.1, and
the regular one is such a distance itself."""
REGULAR_DISTANCE_FRACTION = 0.05
"""The same, relative to the regular distance, for thick slices: table positions are not exact."""
OFF_GRID_FRACTION = 0.5
"""Of the slice distance: farther from its place on the regular grid, a slice would lie nearer to another's."""
SIDEWAYS_MM = 1.0
"""Drift of the slices across the normal, over the whole stack, that is rounding: about one voxel of a chest CT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One frame on its way into a volume."""

    source: FrameSource
    geometry: FrameGeometry


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Slices in the order of increasing position along the normal, and where the first one and its axes lie."""

    slices: tuple[Slice, ...]
    index_to_patient: NDArray[np.float64]
    """See ``inference.volume.Volume``; determinant positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plane:
    """What all slices have in common."""

    along_row: NDArray[np.float64]
    along_column: NDArray[np.float64]
    normal: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    """Between rows, between columns."""


def stack(slices: Sequence[Slice]) -> Stack:
    """Order the slices and derive the affine.

    The third axis is rows × columns, so that the grid is right-handed for head first and feet first alike.
    Raises ``NotAnalysable`` naming what is wrong.
    """
    plane = _common_plane(slices)
    positions = np.array([_known(each.geometry.position_mm) for each in slices], dtype=np.float64)
    along = positions @ plane.normal
    order = np.argsort(along, kind="stable")
    _refuse_repeated(along[order])
    _refuse_tilt(positions[order] - positions[order[0]], plane)
    distance = _regular_distance(along[order])
    affine = np.eye(4)
    affine[:3, 0] = plane.along_row * plane.spacing_mm[1]
    affine[:3, 1] = plane.along_column * plane.spacing_mm[0]
    affine[:3, 2] = plane.normal * distance
    affine[:3, 3] = positions[order[0]]
    return Stack(slices=tuple(slices[index] for index in order), index_to_patient=affine)


def repeated_positions(slices: Sequence[Slice]) -> tuple[tuple[Slice, ...], ...]:
    """The groups of two or more slices that lie at one place in one orientation: copies, or several phases."""
    groups: dict[tuple[int, ...], list[Slice]] = {}
    for each in slices:
        where = each.geometry.position_mm
        facing = each.geometry.orientation
        if where is None or facing is None:
            continue
        key = (
            *(round(value / SAME_POSITION_MM) for value in where),
            *(round(value / ORIENTATION_TOLERANCE) for value in facing),
        )
        groups.setdefault(key, []).append(each)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _common_plane(slices: Sequence[Slice]) -> _Plane:
    _refuse_missing(slices)
    orientations = np.array([_known(each.geometry.orientation) for each in slices], dtype=np.float64)
    first = orientations[0]
    along_row, along_column = first[:3], first[3:]
    lengths_off = max(abs(np.linalg.norm(along_row) - 1), abs(np.linalg.norm(along_column) - 1))
    if lengths_off > ORIENTATION_TOLERANCE or abs(along_row @ along_column) > ORIENTATION_TOLERANCE:
        raise NotAnalysable("Image Orientation (Patient) does not hold two unit vectors at right angles")
    turned = np.abs(orientations - first).max(axis=1) > ORIENTATION_TOLERANCE
    if turned.any():
        raise NotAnalysable(
            f"mixed orientations: {int(turned.sum())} of {len(slices)} slices lie in another plane than the first"
        )
    spacings = np.array([_known(each.geometry.spacing_mm) for each in slices], dtype=np.float64)
    if spacings.min() < PLAUSIBLE_SPACING_MM[0] or spacings.max() > PLAUSIBLE_SPACING_MM[1]:
        raise NotAnalysable("Pixel Spacing is not that of a CT")
    if (np.abs(spacings - spacings[0]) > SPACING_TOLERANCE * spacings[0]).any():
        raise NotAnalysable(
            f"mixed pixel spacing: from {_mm(spacings.min())} to {_mm(spacings.max())} mm within the series"
        )
    along_row = along_row / np.linalg.norm(along_row)
    normal = np.cross(along_row, along_column)
    normal /= np.linalg.norm(normal)
    return _Plane(
        along_row=along_row,
        along_column=np.cross(normal, along_row),
        normal=normal,
        spacing_mm=(float(spacings[0, 0]), float(spacings[0, 1])),
    )


def _refuse_missing(slices: Sequence[Slice]) -> None:
    for name, present in (
        ("Image Position (Patient)", [each.geometry.position_mm is not None for each in slices]),
        ("Image Orientation (Patient)", [each.geometry.orientation is not None for each in slices]),
        ("Pixel Spacing", [each.geometry.spacing_mm is not None for each in slices]),
    ):
        missing = present.count(False)
        if missing:
            raise NotAnalysable(f"{name} is missing or not readable in {missing} of {len(slices)} slices")


def _refuse_repeated(along: NDArray[np.float64]) -> None:
    """Whatever the cause (phases, copies with other pixels), no one volume is right."""
    starts = np.flatnonzero(np.diff(along, prepend=-math.inf) > SAME_POSITION_MM)
    counts = np.diff(starts, append=len(along))
    if len(starts) == len(along):
        return
    if len(starts) > 1 and (counts > 1).all():
        raise NotAnalysable(
            f"slice positions repeat: {int(counts.max())} instances at each of {len(starts)} positions "
            "(several phases or reconstructions in one series?)"
        )
    first = int(np.flatnonzero(counts > 1)[0])
    raise NotAnalysable(
        f"slice positions repeat: {int(counts[first])} instances at {_mm(along[starts[first]])} mm along the slice axis"
        + (f", and at {int((counts > 1).sum()) - 1} more positions" if (counts > 1).sum() > 1 else "")
    )


def _refuse_tilt(offsets: NDArray[np.float64], plane: _Plane) -> None:
    """A sheared stack (gantry tilt) is not a right-angled grid; resampling it would move every finding."""
    sideways = offsets - np.outer(offsets @ plane.normal, plane.normal)
    drift = np.linalg.norm(sideways, axis=1)
    worst = int(drift.argmax())
    if drift[worst] <= SIDEWAYS_MM:
        return
    straight = np.outer((offsets @ plane.normal) / (offsets[-1] @ plane.normal), sideways[-1])
    if np.linalg.norm(sideways - straight, axis=1).max() <= SIDEWAYS_MM:
        tilt = math.degrees(math.atan2(float(drift[-1]), float(offsets[-1] @ plane.normal)))
        raise NotAnalysable(
            f"gantry tilt of {tilt:.1f}°: the slices are sheared, and only an untilted acquisition or a reformatted "
            "series can be analysed"
        )
    raise NotAnalysable(f"slices are shifted sideways against each other by up to {_mm(drift[worst])} mm")


def _regular_distance(along: NDArray[np.float64]) -> float:
    """The distance between neighbouring slices, in mm."""
    distances = np.diff(along)
    if len(distances) == 0:
        raise NotAnalysable("only 1 slice: no distance between slices can be known")
    regular = float(np.median(distances))
    allowed = max(REGULAR_DISTANCE_MM, REGULAR_DISTANCE_FRACTION * regular)
    odd = np.flatnonzero(np.abs(distances - regular) > min(allowed, OFF_GRID_FRACTION * regular))
    mean = float((along[-1] - along[0]) / len(distances))
    off_grid = np.abs(along - along[0] - mean * np.arange(len(along))).max()
    if len(odd) == 0 and off_grid <= OFF_GRID_FRACTION * mean:
        return mean
    if len(odd) == 0 or len(odd) > max(1, len(distances) // 10):
        raise NotAnalysable(
            f"slice distances vary from {_mm(distances.min())} to {_mm(distances.max())} mm: no regular grid"
        )
    first = int(odd[0])
    kind = "gap" if distances[first] > regular else "irregular slices"
    more = f" ({len(odd) - 1} more of the kind)" if len(odd) > 1 else ""
    raise NotAnalysable(
        f"{kind}: {_mm(distances[first])} mm between slices {first + 1} and {first + 2} "
        f"where {_mm(regular)} mm is regular{more}"
    )


_Value = TypeVar("_Value")


def _known(value: _Value | None) -> _Value:
    if value is None:
        raise AssertionError("missing geometry is refused before it is used")
    return value


def _mm(value: float) -> str:
    """Without digits that nobody needs."""
    return f"{float(value):.2f}".rstrip("0").rstrip(".")
