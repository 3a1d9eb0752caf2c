"""Filling defects painted into a real CT angiogram, in vessels that the picture itself shows.

No labelled angiogram can be had; the anatomy, noise and artefacts of a real one can. Clots have the forms, numbers and
volumes of ``emboli``. Arteries and veins are not told apart: a radiologist would know better, a detector learns what a
defect looks like in a real lumen. The heart, the aorta and the pulmonary trunk are left alone (wider than
``WIDEST_MM``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.phantoms.emboli import (
    CLOT_HU,
    COUNTS,
    LARGEST_ML,
    LENGTH_TO_RADIUS,
    LOG_SPREAD,
    MEDIAN_ML,
    SMALLEST_ML,
    THINNEST_MM,
    Form,
    form_in,
)
from inference.pipelines.embolus_places import hull_of_slice
from inference.volume import Volume

LOWEST_LUMEN_HU = 150
"""Blood with contrast has more, and bone too."""
BONE_HU = 700
"""Bone, or undiluted contrast in the superior vena cava."""
WIDEST_MM = 9.0
"""Radius of the widest vessels that are painted in."""
WALL_MM = 3.0
RIB_MM = 4.0
"""Of a lung's hull may be ribs."""
STEP_SHARE = 0.5
"""Of the radius: the length of clot that each point of a ridge stands for."""
COVERED = 0.5
"""Share of a voxel from which it belongs to a clot."""
DARKEST_HU, WALL_HU = -850.0, 60.0
"""Of what lies around a vessel: air in the lung, soft tissue."""
LONGEST_POINTS = 4000
"""Of a ridge that one clot may follow."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VesselTree:
    """Ridges of the contrast-filled vessels of one volume."""

    lumen: NDArray[np.bool_]
    """(slices, rows, columns)."""
    depth_mm: NDArray[np.float32]
    """Distance to the wall, of every voxel of ``lumen``; 0 elsewhere."""
    ridge_zyx: NDArray[np.int64]
    """Voxels (n, 3) deeper than their neighbours: the middles of vessels from ``THINNEST_MM`` radius on."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PaintedCt:
    """The picture with clots, and which voxels are clot."""

    volume: Volume
    clots: NDArray[np.bool_]


def find_vessels(volume: Volume, left: NDArray[np.bool_], right: NDArray[np.bool_]) -> VesselTree:
    """Vessels with contrast in the lungs and their hila; the lungs have the volume's shape. May be empty."""
    box = _around(left | right)
    lumen, depth = _lumen(_cut(volume, box), left[box], right[box])
    ridge_zyx = np.argwhere(
        lumen & (depth >= ndimage.maximum_filter(depth, size=(1, 3, 3))) & (depth >= THINNEST_MM)
    ) + np.array([part.start for part in box])
    whole_lumen, whole_depth = np.zeros(left.shape, np.bool_), np.zeros(left.shape, np.float32)
    whole_lumen[box], whole_depth[box] = lumen, depth
    return VesselTree(lumen=whole_lumen, depth_mm=whole_depth, ridge_zyx=ridge_zyx)


def _lumen(
    volume: Volume, left: NDArray[np.bool_], right: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which voxels are a vessel's, and how deep they lie in it in mm."""
    x_mm, y_mm, z_mm = volume.spacing_xyz_mm
    sampling = (z_mm, y_mm, x_mm)
    near = _hull(left, pixel_mm=x_mm) | _hull(right, pixel_mm=x_mm)
    smooth = ndimage.gaussian_filter(volume.array_zyx.astype(np.float32), (0, 0.6, 0.6))
    depth = _depth_mm(smooth > LOWEST_LUMEN_HU, sampling)
    wide = depth > WIDEST_MM
    blood_hu = float(np.median(smooth[wide & near])) if (wide & near).any() else 2 * LOWEST_LUMEN_HU
    # Enhanced heart muscle is brighter than the lowest limit, not than half of the blood.
    depth = _depth_mm((smooth > max(LOWEST_LUMEN_HU, blood_hu / 2)) & (smooth < BONE_HU), sampling)
    wide = depth > WIDEST_MM
    # What a wide core reaches is heart or great vessel, up to its wall.
    reach = ndimage.distance_transform_edt(~wide, sampling=sampling) < WIDEST_MM + WALL_MM if wide.any() else wide
    dense = ndimage.maximum_filter(smooth, (1, *(2 * round(WALL_MM / pixel) + 1 for pixel in (y_mm, x_mm)))) > BONE_HU
    parts, count = ndimage.label((depth > 0) & ~reach & ~dense & near, np.ones((3, 3, 3)))
    lumen = _vessel_parts(parts, count, smooth, volume.voxel_ml)[parts]
    depth[~lumen] = 0
    return lumen, depth


def _vessel_parts(
    parts: NDArray[np.signedinteger], count: int, smooth: NDArray[np.float32], voxel_ml: float
) -> NDArray[np.bool_]:
    """Which parts are vessels: of some size, much brighter than their surroundings, as the inside of a bone is not."""
    numbers = np.arange(count + 1)
    inside = np.asarray(ndimage.mean(smooth, parts, numbers))
    shell = ndimage.grey_dilation(parts, size=(1, 5, 5))
    shell[parts > 0] = 0
    outside = np.asarray(ndimage.mean(smooth, shell, numbers))
    wanted = (outside < inside / 2) & (np.bincount(parts.ravel(), minlength=count + 1) * voxel_ml > SMALLEST_ML)
    wanted[0] = False
    return np.asarray(wanted, np.bool_)


def _depth_mm(bright: NDArray[np.bool_], sampling: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.asarray(ndimage.distance_transform_edt(bright, sampling=sampling), np.float32)


def paint_clots(volume: Volume, vessels: VesselTree, rng: np.random.Generator, *, more: int = 1) -> PaintedCt:
    """A copy of ``volume`` with ``more`` times as many clots as a patient of FUMPE has.

    Raises ``ValueError`` where there is no vessel to paint in.
    """
    if not len(vessels.ridge_zyx):
        raise ValueError("the picture shows no vessel with contrast that a clot could lie in")
    array = volume.array_zyx.astype(np.float32)
    clots = np.zeros(array.shape, np.bool_)
    wanted = more * int(rng.choice(COUNTS))
    for _ in range(wanted):
        _paint_one(array, clots, volume, vessels, rng)
    painted = Volume(
        array_zyx=np.rint(array).astype(np.int16),
        index_to_patient=volume.index_to_patient,
        frame_of_reference_uid=volume.frame_of_reference_uid,
    )
    return PaintedCt(volume=painted, clots=clots)


def _paint_one(
    array: NDArray[np.float32],
    clots: NDArray[np.bool_],
    volume: Volume,
    vessels: VesselTree,
    rng: np.random.Generator,
) -> None:
    """One clot, in place: balls along the ridge of a vessel, as far as its volume goes."""
    spacing_zyx = np.array(volume.spacing_xyz_mm[::-1])
    volume_mm3 = 1000.0 * float(np.clip(MEDIAN_ML * np.exp(rng.normal(0, LOG_SPREAD)), SMALLEST_ML, LARGEST_ML))
    radii = vessels.depth_mm[tuple(vessels.ridge_zyx.T)]
    fitting = float(np.clip((volume_mm3 / (np.pi * LENGTH_TO_RADIUS)) ** (1 / 3), THINNEST_MM, WIDEST_MM))
    weights = np.exp(-((np.log(radii / fitting) / 0.35) ** 2)) + 1e-9
    start = int(rng.choice(len(radii), p=weights / weights.sum()))
    form = form_in(float(radii[start]), rng)
    share = {Form.COMPLETE: 1.6, Form.CENTRAL: rng.uniform(0.55, 0.8), Form.ECCENTRIC: rng.uniform(0.6, 0.85)}[form]
    towards = rng.normal(size=3)
    towards /= np.linalg.norm(towards)
    coverage = np.zeros(array.shape, np.float32)
    windows: list[tuple[slice, ...]] = []
    for at in _along(vessels, start, spacing_zyx):
        lumen = float(vessels.depth_mm[tuple(at)])
        radius = max(lumen * float(share), 0.9)
        middle = at * spacing_zyx
        if form is Form.ECCENTRIC:
            middle = middle + towards * (lumen - lumen * share)
        windows.append(_ball(coverage, middle, radius, spacing_zyx))
        volume_mm3 -= np.pi * min(radius, lumen) ** 2 * max(STEP_SHARE * lumen, 1.0)
        if volume_mm3 <= 0:
            break
    box = tuple(
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*windows, strict=True)
    )
    near = ndimage.binary_dilation(vessels.lumen[box], np.ones((1, 3, 3), np.bool_))
    covered = coverage[box] * near
    _replace(array[box], volume.array_zyx[box], covered, vessels.lumen[box], hu=float(rng.uniform(*CLOT_HU)))
    clots[box] |= (covered > COVERED) & vessels.lumen[box]


def _along(vessels: VesselTree, start: int, spacing_zyx: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Points of the ridge from ``start`` on, through the ridge's own points: the fewer between, the earlier."""
    points = vessels.ridge_zyx
    places = points * spacing_zyx
    reached, frontier = [start], [start]
    seen = np.zeros(len(points), np.bool_)
    seen[start] = True
    while frontier and len(reached) < LONGEST_POINTS:
        at = frontier.pop(0)
        radius = float(vessels.depth_mm[tuple(points[at])])
        distance = np.linalg.norm(places - places[at], axis=1)
        # A ridge found slice by slice has gaps where a vessel runs obliquely.
        near = np.flatnonzero(~seen & (distance <= max(1.2 * radius, 1.1 * spacing_zyx[0])))
        seen[near] = True
        ordered = near[np.argsort(distance[near])].tolist()
        reached += ordered
        frontier += ordered
    return [points[one] for one in reached]


def _ball(
    coverage: NDArray[np.float32], middle_mm: NDArray[np.float64], radius_mm: float, spacing_zyx: NDArray[np.float64]
) -> tuple[slice, ...]:
    """Raise ``coverage`` to the share of each voxel that a ball covers, about; returns where."""
    reach = radius_mm + spacing_zyx
    low = np.maximum(np.floor((middle_mm - reach) / spacing_zyx), 0).astype(int)
    high = np.minimum(np.ceil((middle_mm + reach) / spacing_zyx) + 1, coverage.shape).astype(int)
    window = tuple(slice(int(first), int(last)) for first, last in zip(low, high, strict=True))
    axes = [
        np.arange(part.start, part.stop) - centre / step
        for part, step, centre in zip(window, spacing_zyx, middle_mm, strict=True)
    ]
    z, y, x = (axis * step for axis, step in zip(axes, spacing_zyx, strict=True))
    in_mm = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    # Half a pixel inside of the surface a voxel is covered, half a pixel outside it is not.
    share = np.clip((radius_mm - in_mm) / spacing_zyx[1] + 0.5, 0, 1).astype(np.float32)
    np.maximum(coverage[window], share, out=coverage[window])
    return window


def _replace(
    array: NDArray[np.float32],
    before: NDArray[np.int16],
    covered: NDArray[np.float32],
    lumen: NDArray[np.bool_],
    *,
    hu: float,
) -> None:
    """Blood becomes clot where it is covered, in place. Noise and the partial volumes at walls stay.

    ``before``: without any clot, since two may overlap.
    """
    inside = lumen & (covered > COVERED)
    if not inside.any():
        return
    blood = float(np.median(before[inside]))
    bare = before.astype(np.float32)
    around = ndimage.grey_erosion(ndimage.gaussian_filter(bare, (0, 1, 1)), (1, 5, 5))
    outside = np.clip(around, DARKEST_HU, WALL_HU)
    share = np.clip((bare - outside) / np.maximum(blood - outside, 1.0), 0, 1.1)
    np.minimum(array, bare - covered * share * max(blood - hu, 0.0), out=array)


def _around(lungs: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The box of the lungs. Raises ``ValueError`` where there are none."""
    z, y, x = (np.flatnonzero(lungs.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    if not len(z):
        raise ValueError("the picture shows no lungs")
    return slice(int(z[0]), int(z[-1]) + 1), slice(int(y[0]), int(y[-1]) + 1), slice(int(x[0]), int(x[-1]) + 1)


def _cut(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    return Volume(
        array_zyx=volume.array_zyx[box],
        index_to_patient=volume.index_to_patient,  # only its spacing is used
        frame_of_reference_uid=volume.frame_of_reference_uid,
    )


def _hull(lung: NDArray[np.bool_], *, pixel_mm: float) -> NDArray[np.bool_]:
    """Slice by slice, the convex hull of one lung: lung and hilum, but neither ribs nor spine."""
    return np.stack([hull_of_slice(part, margin_mm=RIB_MM, pixel_mm=pixel_mm) for part in lung])
