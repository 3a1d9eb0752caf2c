"""How much of the lungs is diseased: shares of volume, and a score on a named scale.

Owns the arithmetic from masks to numbers; the masks may come from any model. The six-zone score follows Ooi et al.,
who divide each lung at the carina and at the inferior pulmonary vein; no mask of ours shows these, so zones here are
equal thirds of the lung's height, as the scale's name says. A lung that was not found gets no share and
no score: an entirely consolidated lung must never read as a healthy one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.findings import Involvement, SeverityScore, Side, Zone
from inference.volume import Volume

Mask3D = NDArray[np.bool_]

SIX_ZONE_SCALE = "Six-zone CT score, 0-24 (zones: equal thirds of each lung's height)"
SIX_ZONE_CITATION = (
    "After Ooi GC et al., Radiology 2004;230:836-844, doi:10.1148/radiol.2303030853; "
    "zones there are bounded by carina and inferior pulmonary vein"
)
SIX_ZONE_STEPS_PERCENT = (0.0, 25.0, 50.0, 75.0)
"""A zone's score is the number of steps that its involved share exceeds."""
ZONE_NAMES = ("upper", "middle", "lower")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LungMasks:
    """Lungs and infected region on the grid of one volume, bool, shape of its ``array_zyx``."""

    left: Mask3D
    right: Mask3D
    infected: Mask3D


def involvement(masks: LungMasks, volume: Volume) -> Involvement:
    """Shares of lung volume; what is infected outside the lungs does not count."""
    left, left_infected = _counts(masks.left, masks.infected)
    right, right_infected = _counts(masks.right, masks.infected)
    total = _percent(left_infected + right_infected, left + right)
    return Involvement(
        total_percent=0.0 if total is None else total,
        left_percent=_percent(left_infected, left),
        right_percent=_percent(right_infected, right),
        left_lung_ml=left * volume.voxel_ml,
        right_lung_ml=right * volume.voxel_ml,
        infected_ml=(left_infected + right_infected) * volume.voxel_ml,
    )


def six_zone_score(masks: LungMasks, volume: Volume) -> SeverityScore | None:
    """The score, or ``None`` where a lung is missing or too flat to have three zones."""
    zones: list[Zone] = []
    for side, lung in ((Side.RIGHT, masks.right), (Side.LEFT, masks.left)):
        lung_profile, infected_profile = _profiles(lung, masks.infected, volume)
        occupied = np.flatnonzero(lung_profile)
        if not len(occupied):
            return None
        low, high = occupied[0], occupied[-1] + 1
        bounds = np.rint(np.linspace(high, low, len(ZONE_NAMES) + 1)).astype(int)
        for name, top, bottom in zip(ZONE_NAMES, bounds, bounds[1:], strict=False):
            percent = _percent(int(infected_profile[bottom:top].sum()), int(lung_profile[bottom:top].sum()))
            if percent is None:
                return None
            zones.append(Zone(name=f"{side.value} {name}", percent=percent, score=zone_score(percent)))
    return SeverityScore(
        scale=SIX_ZONE_SCALE,
        citation=SIX_ZONE_CITATION,
        score=sum(zone.score for zone in zones),
        maximum=len(zones) * len(SIX_ZONE_STEPS_PERCENT),
        zones=tuple(zones),
    )


def zone_score(percent: float) -> int:
    """0: none, 1: up to 25 %, 2: up to 50 %, 3: up to 75 %, 4: more."""
    return sum(percent > step for step in SIX_ZONE_STEPS_PERCENT)


def _counts(lung: Mask3D, infected: Mask3D) -> tuple[int, int]:
    return int(np.count_nonzero(lung)), int(np.count_nonzero(lung & infected))


def _percent(part: int, whole: int) -> float | None:
    return 100.0 * part / whole if whole else None


def _profiles(lung: Mask3D, infected: Mask3D, volume: Volume) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Voxels of lung and of infected lung by height, from the feet to the head.

    Slices that are level (the usual case) are counted whole. In tilted ones every voxel counts at its own height,
    in steps of the slice distance.
    """
    along_columns, along_rows, along_slices, _ = volume.index_to_patient[2]
    if abs(along_columns) + abs(along_rows) < 1e-3 * abs(along_slices):
        profiles = [np.count_nonzero(mask, axis=(1, 2)).astype(np.int64) for mask in (lung, lung & infected)]
        return (profiles[0], profiles[1]) if along_slices > 0 else (profiles[0][::-1], profiles[1][::-1])
    slices, rows, columns = np.nonzero(lung)
    height_mm = along_columns * columns + along_rows * rows + along_slices * slices
    steps = np.rint(height_mm / volume.spacing_xyz_mm[2]).astype(np.int64)
    steps -= steps.min(initial=0)
    ill = infected[slices, rows, columns]
    return np.bincount(steps, minlength=1), np.bincount(steps[ill], minlength=int(steps.max(initial=0)) + 1)
