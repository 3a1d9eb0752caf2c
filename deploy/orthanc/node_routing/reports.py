"""The node's report (Comprehensive SR, PS3.3 A.35.3) as Orthanc shows it: JSON by keyword.

Owns where in the document the outcome and the evidence stand. Reads nothing else of it, least of all the patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from node_routing.study import Report

OVERALL_ASSESSMENT: Final = "111413"
"""Overall Assessment, DCM."""
OUTCOMES: Final = {"10828004": "positive", "260385009": "negative", "262008008": "not analysed"}
"""SNOMED CT: Positive, Negative, Not performed."""
UNKNOWN_OUTCOME: Final = "see the report"

Item = Mapping[str, Any]


def read_report(document: Item) -> Report:
    """From ``/instances/{id}/simplified-tags``. Where there is no outcome, it says ``UNKNOWN_OUTCOME``."""
    outcomes = (
        OUTCOMES.get(_code(item, "ConceptCodeSequence"), UNKNOWN_OUTCOME)
        for item in _content(document)
        if _code(item, "ConceptNameCodeSequence") == OVERALL_ASSESSMENT
    )
    evidence = frozenset(
        str(instance.get("ReferencedSOPInstanceUID", ""))
        for study in _items(document, "CurrentRequestedProcedureEvidenceSequence")
        for series in _items(study, "ReferencedSeriesSequence")
        for instance in _items(series, "ReferencedSOPSequence")
    )
    made = f"{document.get('ContentDate', '')}{document.get('ContentTime', '')}"
    return Report(made=made, outcome=next(outcomes, UNKNOWN_OUTCOME), evidence=evidence)


def _content(document: Item) -> Iterator[Item]:
    for item in _items(document, "ContentSequence"):
        yield item
        yield from _content(item)


def _code(item: Item, sequence: str) -> str:
    return next((str(code.get("CodeValue", "")) for code in _items(item, sequence)), "")


def _items(item: Item, sequence: str) -> list[Item]:
    found = item.get(sequence)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
