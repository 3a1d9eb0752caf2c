"""The sentences that people read, the same in the report and on the summary picture.

Owns the words and the rounding: whole per cent and millilitres, as radiologists read them; what is there but rounds to
nought is "<1". Plain ASCII, so that it fits every character set. Knows no encoding.
"""

from collections import Counter
from typing import Final

from dicom_node.records import InstanceFacts, Series
from dicom_node.results.request import ResultRequest
from inference.findings import (
    Classification,
    Condition,
    Embolus,
    Findings,
    Involvement,
    Lesion,
    ModelIdentity,
    Presence,
    SeverityScore,
    Side,
    Status,
)

RESEARCH_USE: Final = "Research use only. Not a medical device."
RESEARCH_USE_LONG: Final = (
    f"{RESEARCH_USE} Made by software without review by a physician; not for diagnosis or treatment."
)
OUTCOMES: Final = {
    Status.POSITIVE: "Positive",
    Status.NEGATIVE: "Negative",
    Status.NOT_ANALYSED: "Not analysed",
}
SIDES: Final = {Side.LEFT: "left lung", Side.RIGHT: "right lung", Side.BILATERAL: "both lungs"}
UNKNOWN_SIDE: Final = "side not determined"
PRESENCES: Final = {
    Presence.PRESENT: "Positive",
    Presence.ABSENT: "Negative",
    Presence.INDETERMINATE: "Indeterminate",
}
UNCALIBRATED: Final = "Probabilities are scores of the model; how often they come true was not measured."
SHOWN_DIGEST = 12
"""Characters of a SHA-256 that people compare."""
_INSIGNIFICANT_PERCENT = 0.5
_ALMOST_CERTAIN_PERCENT = 99.5
MAXIMUM_EMBOLI_IN_BRIEF = 6
"""Lines on the summary picture; the others are counted."""


def conclusions(findings: Findings) -> tuple[str, ...]:
    """The result in one to three sentences."""
    if findings.status is Status.NOT_ANALYSED:
        return (f"Not analysed: {findings.reason}",)
    embolism = findings.classification(Condition.PULMONARY_EMBOLISM)
    if embolism is not None:
        sentences = [f"{PRESENCES[embolism.presence]}: {embolism_sentence(embolism)}"]
        sentences += [emboli_sentence(findings.emboli)] if findings.emboli else []
    elif findings.status is Status.POSITIVE:
        sentences = ["Positive: ground-glass opacity or consolidation found."]
    else:
        sentences = ["Negative: no ground-glass opacity or consolidation found."]
    if findings.involvement is not None:
        sentences.append(involvement_sentence(findings.involvement))
    sentences += [f"{score_sentence(score)}." for score in findings.severity]
    return tuple(sentences)


def outcome(findings: Findings) -> str:
    """One word for the whole study, or two."""
    embolism = findings.classification(Condition.PULMONARY_EMBOLISM)
    if embolism is not None and embolism.presence is Presence.INDETERMINATE:
        return PRESENCES[Presence.INDETERMINATE]
    return OUTCOMES[findings.status]


def findings_in_brief(request: ResultRequest) -> tuple[str, ...]:
    """What the summary picture says beside the outcome and the score."""
    findings = request.findings
    if findings.status is Status.NOT_ANALYSED:
        return (findings.reason,)
    sentences = []
    embolism = findings.classification(Condition.PULMONARY_EMBOLISM)
    if embolism is not None:
        sentences.append(_sentence(embolism_sentence(embolism)))
    listed, others = findings.emboli[:MAXIMUM_EMBOLI_IN_BRIEF], findings.emboli[MAXIMUM_EMBOLI_IN_BRIEF:]
    for embolus in listed:
        sentences.append(f"{embolus.number}: {embolus_place(embolus, request)}, {probability(embolus.probability)}")
    if others:
        sentences.append(f"and {len(others)} more")
    if findings.involvement is not None:
        sentences.append(involvement_sentence(findings.involvement))
    if findings.lesions:
        count = len(findings.lesions)
        largest = max(findings.lesions, key=lambda lesion: lesion.volume_ml)
        noun = "1 lesion," if count == 1 else f"{count} lesions, the largest"
        sentences.append(f"{noun} {millilitres(largest.volume_ml)} ({SIDES[largest.side]}).")
    return tuple(sentences)


def embolism_sentence(embolism: Classification) -> str:
    """E.g. "no pulmonary embolism found by the model, probability 3 %."."""
    said = {
        Presence.PRESENT: "pulmonary embolism found by the model",
        Presence.ABSENT: "no pulmonary embolism found by the model",
        Presence.INDETERMINATE: "pulmonary embolism neither found nor excluded by the model",
    }
    return f"{said[embolism.presence]}, probability {probability(embolism.probability)}."


def emboli_sentence(emboli: tuple[Embolus, ...]) -> str:
    """E.g. "3 emboli marked: right lung 2, left lung 1."."""
    counts = Counter(_side(embolus.side) for embolus in emboli)
    noun = "1 embolus" if len(emboli) == 1 else f"{len(emboli)} emboli"
    sides = [
        side for side in (SIDES[Side.RIGHT], SIDES[Side.LEFT], SIDES[Side.BILATERAL], UNKNOWN_SIDE) if counts[side]
    ]
    return f"{noun} marked: {', '.join(side if len(emboli) == 1 else f'{side} {counts[side]}' for side in sides)}."


def embolus_name(embolus: Embolus) -> str:
    """What all boxes of an embolus are called, e.g. "Embolus 1"."""
    return f"Embolus {embolus.number}"


def embolus_label(embolus: Embolus) -> str:
    """E.g. "Embolus 1, right lung, 87 %"."""
    return f"{embolus_name(embolus)}, {_side(embolus.side)}, {probability(embolus.probability)}"


def embolus_place(embolus: Embolus, request: ResultRequest) -> str:
    """E.g. "right lung, 14 x 11 x 20 mm, images 34-51"."""
    return f"{_side(embolus.side)}, {_extent(embolus.extent_xyz_mm)}, {image_range(request, *embolus.slices)}"


def _side(side: Side | None) -> str:
    return UNKNOWN_SIDE if side is None else SIDES[side]


def _extent(extent_xyz_mm: tuple[float, float, float]) -> str:
    return " x ".join(f"{length:.0f}" for length in extent_xyz_mm) + " mm"


def _sentence(clause: str) -> str:
    return clause[:1].upper() + clause[1:]


def probability(share: float) -> str:
    """Whole per cent of a probability from 0 to 1; no model is certain."""
    return ">99 %" if 100 * share > _ALMOST_CERTAIN_PERCENT else percent(100 * share)


def score_sentence(score: SeverityScore) -> str:
    """E.g. "Six-zone CT score 7 of 24"; the scale's full name and citation stand elsewhere."""
    return f"{score.scale.split(',')[0]} {score.score} of {score.maximum}"


def involvement_sentence(involvement: Involvement) -> str:
    """E.g. "Estimated involvement 23 % of lung volume (right 31 %, left 14 %)."."""
    right, left = percent(involvement.right_percent), percent(involvement.left_percent)
    return f"Estimated involvement {percent(involvement.total_percent)} of lung volume (right {right}, left {left})."


def percent(value: float | None) -> str:
    """Whole per cent."""
    if value is None:
        return "not found"
    if 0 < value < _INSIGNIFICANT_PERCENT:
        return "<1 %"
    return f"{value:.0f} %"


def millilitres(value: float) -> str:
    """Whole millilitres; below ten with one decimal."""
    return f"{value:.0f} ml" if value >= 10 else f"{value:.1f} ml"


def zone_table(score: SeverityScore) -> str:
    """One line a zone: name, involved share, score."""
    width = max(len(zone.name) for zone in score.zones)
    lines = [f"{zone.name.capitalize():<{width}}  {percent(zone.percent):>9}  {zone.score}" for zone in score.zones]
    return "\n".join([f"{'Zone':<{width}}  {'Involved':>9}  Score", *lines])


def lesion_place(lesion: Lesion, request: ResultRequest) -> str:
    """E.g. "right lung, 62 x 55 x 80 mm, images 34-51"."""
    return f"{SIDES[lesion.side]}, {_extent(lesion.extent_xyz_mm)}, {image_range(request, *lesion.slices)}"


def image_range(request: ResultRequest, first: int, last: int) -> str:
    """Slices by the numbers that a viewer shows: Instance Number, or frame of a multi-frame image."""
    facts = request.source_facts
    if len(facts[first].frames) > 1:
        noun, numbers = "frame", [request.sources[first].frame_number, request.sources[last].frame_number]
    else:
        given = [facts[first].instance_number, facts[last].instance_number]
        noun, numbers = "image", [number for number in given if number is not None]
    if len(numbers) < 2:
        noun, numbers = "slice", [first + 1, last + 1]
    low, high = sorted(numbers)
    return f"{noun} {low}" if low == high else f"{noun}s {low}-{high}"


def model_name(model: ModelIdentity) -> str:
    """Name, version and the start of the digest."""
    return f"{model.name} {model.version} (sha256 {model.digest[:SHOWN_DIGEST]})"


def series_name(series: Series | None) -> str:
    """E.g. "3, Lung 5.0 (CT, 24 images)"."""
    if series is None or not series.instances:
        return "without instances"
    facts: InstanceFacts = series.instances[0].facts
    number = "without number" if facts.series_number is None else str(facts.series_number)
    description = f", {facts.series_description}" if facts.series_description else ""
    count = sum(max(1, len(instance.facts.frames)) for instance in series.instances)
    noun = "image" if count == 1 else "images"
    return f"{number}{description} ({facts.modality or 'no modality'}, {count} {noun})"
