"""The line that infer prints for a study says what the report says."""

import pytest

from dicom_node.commands.infer import headline
from dicom_node.results.wording import outcome
from inference.findings import Classification, Condition, Findings, Presence, Status


@pytest.mark.parametrize(
    ("presence", "status", "said"),
    [
        (Presence.INDETERMINATE, Status.POSITIVE, "indeterminate: 0 pulmonary emboli marked"),
        (Presence.PRESENT, Status.POSITIVE, "positive: 0 pulmonary emboli marked"),
        (Presence.ABSENT, Status.NEGATIVE, "negative: 0 pulmonary emboli marked"),
    ],
)
def test_models_that_disagree_are_not_called_positive(presence: Presence, status: Status, said: str) -> None:
    classification = Classification(condition=Condition.PULMONARY_EMBOLISM, presence=presence, probability=0.6)
    findings = Findings(
        pipeline="pulmonary_embolism", status=status, reason="", models=(), classifications=(classification,)
    )
    document: dict[str, object] = {"status": status.value, "reason": "", "embolism": {"emboli": []}}
    assert headline(document, outcome(findings)).startswith(said)


def test_what_is_not_analysed_says_why() -> None:
    findings = Findings(pipeline="lung_lesions", status=Status.NOT_ANALYSED, reason="no lungs found", models=())
    document: dict[str, object] = {"status": "not_analysed", "reason": "no lungs found"}
    assert headline(document, outcome(findings)) == "not analysed: no lungs found"
