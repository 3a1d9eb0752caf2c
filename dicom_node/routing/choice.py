"""The choice: which series feed which pipeline, and for every other series why not.

Pure: series and rules in, decisions out. The reasons are written for people who run an archive, from our own words
and numbers; free text of the received headers never goes into them.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType

from pydicom.uid import UID

from dicom_node.records import Series, SeriesDecision
from dicom_node.routing.outline import SeriesOutline, outline
from dicom_node.routing.rules import Criterion, PipelineRules, Rules

SAME_COVERAGE_FRACTION = 0.8
"""A series that spans that much of what the longest one does covers "as much": reconstructions crop the ends."""
_AXES = MappingProxyType({"sagittal": 0, "coronal": 1, "axial": 2})
"""Index of the patient axis (x: to the left, y: to the back, z: to the head) that the plane's normal follows."""
_LISTED = 3
"""Patterns named in a reason; the configuration holds the others."""
_CODE = re.compile(r"[A-Z0-9_]{1,16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A series that a pipeline can read."""

    series_uid: str
    pipeline: str
    reason: str
    """What its decision says once it is the one that is analysed, e.g. "chosen: axial, 2 mm, 133 slices"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The outcome for one study.

    ``decisions``: one for every series, in the order given. ``candidates``: by pipeline, then by preference; the
    next one is for when no volume can be built from the one before.
    """

    decisions: tuple[SeriesDecision, ...]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """One series before one pipeline."""

    pipeline: str
    chosen: bool
    reason: str


def choose(series: Sequence[Series], rules: Rules) -> Routing:
    """Hold every series against every pipeline's rules. Ties end by series number, then UID: always the same way.

    Pipelines that run on request only are left out, unless ``rules`` holds nothing else (``Rules.only``).
    """
    outlines = [outline(each) for each in series]
    standings: dict[str, list[_Standing]] = {each.series_uid: [] for each in outlines}
    candidates: list[Candidate] = []
    for pipeline, rule in rules.automatic().pipelines.items():
        refusals = {each.series_uid: _refusal(each, rule) for each in outlines}
        fitting = [each for each in outlines if refusals[each.series_uid] is None]
        long_enough = [each for each in fitting if each.slice_count >= rule.slices_minimum]
        ranked = sorted(long_enough or fitting, key=_preference(long_enough or fitting, rule))
        candidates += [_candidate(each, pipeline, rule) for each in ranked]
        for each in outlines:
            reason = refusals[each.series_uid]
            chosen = bool(ranked) and each is ranked[0]
            if reason is None:
                reason = _chosen(each, rule) if chosen else _why_not_first(each, ranked[0], rule)
            standings[each.series_uid].append(_Standing(pipeline=pipeline, chosen=chosen, reason=reason))
    return Routing(
        decisions=tuple(_decision(each.series_uid, standings[each.series_uid]) for each in outlines),
        candidates=tuple(candidates),
    )


def _candidate(series: SeriesOutline, pipeline: str, rules: PipelineRules) -> Candidate:
    return Candidate(series_uid=series.series_uid, pipeline=pipeline, reason=_chosen(series, rules))


def _decision(series_uid: str, standings: Sequence[_Standing]) -> SeriesDecision:
    chosen = [each for each in standings if each.chosen]
    if chosen:
        return SeriesDecision(series_uid=series_uid, pipeline=chosen[0].pipeline, reason=chosen[0].reason)
    reasons = {each.reason for each in standings}
    if len(reasons) == 1:
        return SeriesDecision(series_uid=series_uid, pipeline=None, reason=f"not analysed: {standings[0].reason}")
    named = "; ".join(f"{each.reason} ({each.pipeline})" for each in standings)
    return SeriesDecision(series_uid=series_uid, pipeline=None, reason=f"not analysed: {named}")


def _refusal(series: SeriesOutline, rules: PipelineRules) -> str | None:
    """Why a pipeline can't read a series; ``None`` where it can. The first check that fails names the reason."""
    checks = (_wrong_kind, _wrong_image_type, _wrong_labels, _wrong_plane, _wrong_thickness)
    return next((reason for check in checks if (reason := check(series, rules)) is not None), None)


def _wrong_kind(series: SeriesOutline, rules: PipelineRules) -> str | None:
    if not _matches(series.modality, rules.modalities):
        return f"modality {series.modality}" if _CODE.fullmatch(series.modality) else "modality not named"
    if series.sop_class_uid not in rules.sop_class_uids:
        uid = UID(series.sop_class_uid)
        return f"{uid.name}: not an image class of this pipeline" if not uid.is_private else "a private object class"
    return None


def _wrong_image_type(series: SeriesOutline, rules: PipelineRules) -> str | None:
    for pattern in rules.image_type.forbidden:
        if any(_matches(value, (pattern,)) for value in series.image_type):
            return "localizer" if pattern.upper() == "LOCALIZER" else f"image type {_word(pattern)}"
    for pattern in rules.image_type.required:
        if not any(_matches(value, (pattern,)) for value in series.image_type):
            return f"image type is not {_word(pattern)}"
    return None


def _wrong_labels(series: SeriesOutline, rules: PipelineRules) -> str | None:
    if (pattern := _matching(series.description, rules.description.exclude)) is not None:
        return f"series description like {_word(pattern)}"
    if (pattern := _matching(series.body_part, rules.body_part.exclude)) is not None:
        return f"body part like {_word(pattern)}"
    if (reason := _wrong_region(series, rules)) is not None:
        return reason
    if (pattern := _matching(series.kernel, rules.kernel.exclude)) is not None:
        return f"reconstruction kernel like {_word(pattern)}"
    if rules.contrast == "required" and not series.contrast:
        return "no contrast agent named"
    if rules.contrast == "forbidden" and series.contrast:
        return "with contrast agent"
    return None


def _wrong_region(series: SeriesOutline, rules: PipelineRules) -> str | None:
    """The body part decides; a fitting description makes up for another one, or decides where no part is asked for."""
    if _matches(series.description, rules.description.include):
        return None
    if rules.body_part.include:
        if series.body_part and not _matches(series.body_part, rules.body_part.include):
            return f"body part is none of {_listed(rules.body_part.include)}"
    elif rules.description.include and series.description:
        return f"series description is none of {_listed(rules.description.include)}"
    return None


def _wrong_plane(series: SeriesOutline, rules: PipelineRules) -> str | None:
    plane, normal = rules.orientation.plane, series.normal
    if plane == "any" or normal is None:
        return None
    angle = math.degrees(math.acos(min(1.0, abs(normal[_AXES[plane]]))))
    if angle <= rules.orientation.tolerance_deg:
        return None
    nearest = max(_AXES, key=lambda name: abs(normal[_AXES[name]]))
    return f"{nearest} instead of {plane}" if nearest != plane else f"oblique: {angle:.0f}° off {plane}"


def _wrong_thickness(series: SeriesOutline, rules: PipelineRules) -> str | None:
    thickness, rule = series.thickness_mm, rules.slice_thickness_mm
    if thickness is not None:
        if rule.maximum is not None and thickness > rule.maximum:
            return f"slices of {thickness:g} mm; at most {rule.maximum:g} mm are read"
        if rule.minimum is not None and thickness < rule.minimum:
            return f"slices of {thickness:g} mm; at least {rule.minimum:g} mm are read"
    distance, limit = series.distance_mm, rules.slice_distance_mm_maximum
    if distance is not None and limit is not None and distance > limit:
        return f"{distance:g} mm from slice to slice; at most {limit:g} mm are read"
    return None


def _preference(
    fitting: Sequence[SeriesOutline], rules: PipelineRules
) -> Callable[[SeriesOutline], tuple[float | str, ...]]:
    """Sort key: smaller comes first."""
    coverage = _needed_coverage(fitting, rules)

    def key(series: SeriesOutline) -> tuple[float | str, ...]:
        marks = [_mark(series, criterion, rules, coverage) for criterion in rules.prefer]
        number = math.inf if series.series_number is None else series.series_number
        return (*marks, -series.slice_count, number, series.series_uid)

    return key


def _needed_coverage(fitting: Sequence[SeriesOutline], rules: PipelineRules) -> float:
    longest = max((each.coverage_mm for each in fitting), default=0.0)
    return SAME_COVERAGE_FRACTION * min(longest, rules.coverage_enough_mm)


def _mark(series: SeriesOutline, criterion: Criterion, rules: PipelineRules, needed_coverage_mm: float) -> float:
    """How a series does by one criterion: smaller is better, equal is as good."""
    if criterion == "coverage":
        return 0.0 if series.coverage_mm >= needed_coverage_mm else 1.0 - series.coverage_mm / needed_coverage_mm
    if criterion == "thickness":
        thickness = math.inf if series.thickness_mm is None else series.thickness_mm
        return max(round(thickness, 1) if math.isfinite(thickness) else thickness, rules.slice_thickness_mm.preferred)
    if criterion == "kernel":
        ranks = [rank for rank, pattern in enumerate(rules.kernel.preferred) if _matches(series.kernel, (pattern,))]
        return float(min(ranks, default=len(rules.kernel.preferred)))
    return 0.0 if "ORIGINAL" in series.image_type[:1] else 1.0


def _chosen(series: SeriesOutline, rules: PipelineRules) -> str:
    plane = "" if rules.orientation.plane == "any" or series.normal is None else f"{rules.orientation.plane}, "
    thickness = "" if series.thickness_mm is None else f"{series.thickness_mm:g} mm, "
    return f"chosen: {plane}{thickness}{series.slice_count} slice{'s' if series.slice_count != 1 else ''}"


def _why_not_first(series: SeriesOutline, first: SeriesOutline, rules: PipelineRules) -> str:
    """Where a fitting series falls behind the chosen one."""
    if series.slice_count < rules.slices_minimum:
        return f"only {series.slice_count} slices; {rules.slices_minimum} are needed"
    coverage = _needed_coverage((series, first), rules)
    for criterion in rules.prefer:
        if _mark(series, criterion, rules, coverage) <= _mark(first, criterion, rules, coverage):
            continue
        if criterion == "coverage":
            return f"{series.coverage_mm:.0f} mm covered instead of {first.coverage_mm:.0f} mm in {first.title}"
        if criterion == "thickness":
            own = "unknown thickness" if series.thickness_mm is None else f"{series.thickness_mm:g} mm"
            return f"{own} instead of {first.thickness_mm:g} mm in {first.title}"
        if criterion == "kernel":
            return f"kernel suits less than in {first.title}"
        return f"derived images; {first.title} holds the original ones"
    if series.slice_count < first.slice_count:
        return f"{series.slice_count} slices instead of {first.slice_count} in {first.title}"
    return f"as good as {first.title}, which is analysed"


def _listed(patterns: Sequence[str]) -> str:
    """The first few patterns, as words."""
    words = [_word(pattern) for pattern in patterns]
    return ", ".join(words[:_LISTED]) + (", …" if len(words) > _LISTED else "")


def _word(pattern: str) -> str:
    """A pattern as people read it."""
    return pattern.strip("*") or "*"


def _matching(text: str, patterns: Sequence[str]) -> str | None:
    return next((pattern for pattern in patterns if fnmatchcase(text.upper(), pattern.upper())), None)


def _matches(text: str, patterns: Sequence[str]) -> bool:
    return _matching(text, patterns) is not None
