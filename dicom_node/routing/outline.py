"""What the rules ask about a series, taken together from its instances.

Pure. Owns how labels that differ between instances become one answer: the most frequent one, ties in sorted order, so
that the order of arrival changes nothing.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TypeVar

import numpy as np

from dicom_node.records import FrameGeometry, Series, StoredInstance

_LOCALIZER = "LOCALIZER"
_SAME_POSITION_MM = 0.01
"""Repeated positions (several phases) say nothing about the distance of slices; the volume's geometry refuses them."""

_Label = TypeVar("_Label", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesOutline:
    """One series in the words of the rules. ``None`` or empty: not known."""

    series_uid: str
    series_number: int | None
    modality: str
    sop_class_uid: str
    image_type: tuple[str, ...]
    body_part: str
    description: str
    kernel: str
    contrast: bool
    slice_count: int
    """Frames of all instances that are no localizers."""
    thickness_mm: float | None
    """Slice Thickness, or the distance where it is absent."""
    distance_mm: float | None
    """Median between neighbouring slice positions."""
    coverage_mm: float
    """From the first slice position to the last."""
    normal: tuple[float, float, float] | None
    """Unit vector across the slices."""

    @property
    def title(self) -> str:
        """How people name the series: by its number, or by its UID where it has none."""
        return f"series {self.series_number}" if self.series_number is not None else f"series {self.series_uid}"


def outline(series: Series) -> SeriesOutline:
    """Take the instances together. Localizers count only where there is nothing else."""
    images = [each for each in series.instances if _LOCALIZER not in each.facts.image_type]
    instances = images or list(series.instances)
    facts = [each.facts for each in instances]
    frames = _frames_of_main_class(instances)
    normal = _normal(frames)
    positions = _positions(frames, normal)
    distances = [after - before for before, after in pairwise(positions) if after - before > _SAME_POSITION_MM]
    distance = round(median(distances), 2) if distances else None
    thicknesses = [each.slice_thickness_mm for each in facts if each.slice_thickness_mm]
    return SeriesOutline(
        series_uid=series.series_uid,
        series_number=_most_frequent((each.series_number for each in facts), None),
        modality=_most_frequent((each.modality for each in facts), ""),
        sop_class_uid=_most_frequent((each.sop_class_uid for each in facts), ""),
        image_type=_most_frequent((each.image_type for each in facts), ()),
        body_part=_most_frequent((each.body_part for each in facts), ""),
        description=_most_frequent((each.series_description for each in facts), ""),
        kernel=_most_frequent((each.kernel for each in facts), ""),
        contrast=_names_an_agent(_most_frequent((each.contrast_agent for each in facts), "")),
        slice_count=len(frames),
        thickness_mm=round(median(thicknesses), 2) if thicknesses else distance,
        distance_mm=distance,
        coverage_mm=positions[-1] - positions[0] if positions else 0.0,
        normal=normal,
    )


def _frames_of_main_class(instances: list[StoredInstance]) -> list[FrameGeometry]:
    main = _most_frequent((each.facts.sop_class_uid for each in instances), "")
    return [frame for each in instances if each.facts.sop_class_uid == main for frame in each.facts.frames]


def _most_frequent(labels: Iterable[_Label], otherwise: _Label) -> _Label:
    counts = Counter(label for label in labels if label not in (None, "", ()))
    return min(counts, key=lambda label: (-counts[label], str(label)), default=otherwise)


def _names_an_agent(text: str) -> bool:
    """Some scanners write "NONE" or "NO" instead of leaving the attribute empty."""
    return text.strip().upper() not in ("", "NONE", "NO", "N", "N/A", "NIL", "-")


def _normal(frames: list[FrameGeometry]) -> tuple[float, float, float] | None:
    facing = _most_frequent((each.orientation for each in frames), None)
    if facing is None:
        return None
    across = np.cross(facing[:3], facing[3:])
    length = float(np.linalg.norm(across))
    if length < 0.5:  # no two directions at a right angle; the volume's geometry says so in words
        return None
    x, y, z = across / length
    return float(x), float(y), float(z)


def _positions(frames: list[FrameGeometry], normal: tuple[float, float, float] | None) -> list[float]:
    """Along the normal, in mm, sorted."""
    if normal is None:
        return []
    return sorted(float(np.dot(each.position_mm, normal)) for each in frames if each.position_mm is not None)
