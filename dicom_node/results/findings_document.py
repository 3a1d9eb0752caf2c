"""``findings.json``: the findings as plain values for scripts, and for ``/api/studies/{uid}``.

Owns the names and units of that document, which is a fixed interface. A part that the pipeline did not produce is
``null``, never zero: "no lesion found" and "not looked for" must not look alike.
"""

import math
from collections.abc import Mapping
from typing import Any

from dicom_node.records import FrameSource
from dicom_node.results.emboli import box_uid, embolus_uid
from dicom_node.results.request import FIVE_LOBES, SIX_ZONES, ResultRequest
from inference.findings import Box, Condition, Embolus, Findings, Lesion, Presence, SeverityScore, Status


def outcome_of(document: Mapping[str, Any]) -> str:
    """What people read of a document of ``findings_document``, worded as in the report: its status, or "indeterminate".

    The status has three values for scripts; where models disagree it is "positive", so that nobody overlooks the study.
    """
    said = (document.get("classification") or {}).values()  # documents of older versions have none
    if any(one["presence"] == Presence.INDETERMINATE.value for one in said):
        return Presence.INDETERMINATE.value
    return str(document["status"]).replace("_", " ")


def findings_document(request: ResultRequest) -> dict[str, Any]:
    """The document as values that ``json`` writes; millilitres, millimetres (LPS), per cent, seconds."""
    findings = request.findings
    return {
        "study_uid": request.study_uid,
        "series_uid": request.chosen_series_uid,
        "pipeline": findings.pipeline,
        "status": findings.status.value,
        "reason": findings.reason,
        "models": [
            {
                "name": model.name,
                "version": model.version,
                "digest": model.digest,
                "trained_on": model.trained_on,
                "licence": model.licence,
            }
            for model in findings.models
        ],
        "lesions": _lesions(request),
        "severity": _severity(request),
        "classification": _classification(findings),
        "embolism": _embolism(request),
        "timings_s": {stage: round(seconds, 3) for stage, seconds in findings.timings_s.items()},
        "notes": list(findings.notes),
        "decisions": [
            {"series_uid": decision.series_uid, "pipeline": decision.pipeline, "reason": decision.reason}
            for decision in request.decisions
        ],
        "software_version": request.software_version,
        "created_at": request.created_at.isoformat(),
    }


def _lesions(request: ResultRequest) -> dict[str, Any] | None:
    findings = request.findings
    looked_for = bool(findings.lesions) or findings.involvement is not None or not findings.classifications
    if findings.status is Status.NOT_ANALYSED or not looked_for:
        return None
    return {
        "volume_ml": _number(_infected_ml(findings), 2),
        "components": [_component(lesion, request.sources) for lesion in findings.lesions],
    }


def _infected_ml(findings: Findings) -> float:
    if findings.involvement is not None:
        return findings.involvement.infected_ml
    return sum(lesion.volume_ml for lesion in findings.lesions)


def _component(lesion: Lesion, sources: tuple[FrameSource, ...]) -> dict[str, Any]:
    first, last = lesion.slices
    return {
        "number": lesion.number,
        "side": lesion.side.value,
        "volume_ml": _number(lesion.volume_ml, 3),
        "extent_xyz_mm": [_number(length, 1) for length in lesion.extent_xyz_mm],
        "centroid_mm": [_number(coordinate, 1) for coordinate in lesion.centroid_mm],
        "slices": [first, last],
        "sop_uids": [sources[first].sop_instance_uid, sources[last].sop_instance_uid],
        "mean_hu": _number(lesion.mean_hu, 1),
    }


def _classification(findings: Findings) -> dict[str, Any] | None:
    """By condition, e.g. ``pulmonary_embolism``."""
    return {
        one.condition.value: {"presence": one.presence.value, "probability": _number(one.probability, 4)}
        for one in findings.classifications
    } or None


def _embolism(request: ResultRequest) -> dict[str, Any] | None:
    classification = request.findings.classification(Condition.PULMONARY_EMBOLISM)
    if classification is None and not request.findings.emboli:
        return None
    probabilities = classification.slice_probabilities if classification else ()
    return {
        "probability": _number(classification.probability, 4) if classification else None,
        "slices": [
            {"sop_uid": source.sop_instance_uid, "frame": source.frame_number, "probability": _number(probability, 4)}
            # Those of a pipeline that says nothing of single slices are empty.
            for source, probability in zip(request.sources, probabilities, strict=False)
        ],
        "emboli": [_embolus(embolus, request) for embolus in request.findings.emboli],
    }


def _embolus(embolus: Embolus, request: ResultRequest) -> dict[str, Any]:
    return {
        "number": embolus.number,
        "tracking_uid": embolus_uid(request, embolus),
        "side": embolus.side.value if embolus.side is not None else None,
        "probability": _number(embolus.probability, 4),
        "extent_xyz_mm": [_number(length, 1) for length in embolus.extent_xyz_mm],
        "boxes": [_box(box, embolus, request) for box in embolus.boxes],
    }


def _box(box: Box, embolus: Embolus, request: ResultRequest) -> dict[str, Any]:
    source = request.sources[box.slice_index]
    return {
        "tracking_uid": box_uid(request, embolus, box),
        "sop_uid": source.sop_instance_uid,
        "frame": source.frame_number,
        "box_xyxy_px": [_number(edge, 3) for edge in box.box_xyxy_px],
        "score": _number(box.score, 4),
    }


def _severity(request: ResultRequest) -> dict[str, Any] | None:
    involvement = request.findings.involvement
    six_zone, five_lobe = request.score(SIX_ZONES), request.score(FIVE_LOBES)
    if involvement is None and six_zone is None and five_lobe is None:
        return None
    severity: dict[str, Any] = {
        "total_percent": _number(involvement.total_percent, 2) if involvement else None,
        "left_percent": _number(involvement.left_percent, 2) if involvement else None,
        "right_percent": _number(involvement.right_percent, 2) if involvement else None,
        "left_lung_ml": _number(involvement.left_lung_ml, 1) if involvement else None,
        "right_lung_ml": _number(involvement.right_lung_ml, 1) if involvement else None,
        "six_zone": _score(six_zone) if six_zone else None,
    }
    if five_lobe is not None:
        severity["ct_severity_score"] = _score(five_lobe)
    return severity


def _score(score: SeverityScore) -> dict[str, Any]:
    return {
        "score": score.score,
        "maximum": score.maximum,
        "scale": score.scale,
        "citation": score.citation,
        "zones": [
            {"name": zone.name, "percent": _number(zone.percent, 1), "score": zone.score} for zone in score.zones
        ],
    }


def _number(value: float | None, digits: int) -> float | None:
    """Rounded; ``None`` for what JSON has no number for."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)
