"""The line that infer prints for a study says what the report says."""

import pytest

from dicom_node.commands.infer import headline


@pytest.mark.parametrize(
    ("presence", "status", "said"),
    [
        ("indeterminate", "positive", "indeterminate: 0 pulmonary emboli marked"),
        ("present", "positive", "positive: 0 pulmonary emboli marked"),
        ("absent", "negative", "negative: 0 pulmonary emboli marked"),
    ],
)
def test_models_that_disagree_are_not_called_positive(presence: str, status: str, said: str) -> None:
    classification = {"pulmonary_embolism": {"presence": presence, "probability": 0.6}}
    assert headline(
        {"status": status, "reason": "", "classification": classification, "embolism": {"emboli": []}}
    ).startswith(said)


def test_what_is_not_analysed_says_why() -> None:
    document: dict[str, object] = {"status": "not_analysed", "reason": "no lungs found", "classification": None}
    assert headline(document) == "not analysed: no lungs found"
