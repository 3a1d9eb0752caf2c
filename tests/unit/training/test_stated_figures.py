"""Files of figures, the tables made of them, and what does not fit together."""

from pathlib import Path
from typing import Any

import pytest

from inference.training.evaluation.stated import (
    as_json,
    contradictions,
    deviations,
    patients_at_hand,
    read_figures,
    table,
    with_table,
)

DIGEST = "ab" * 32
CARD = """# A model

| other | table |
|---|---|
| 1 | 2 |

Figures:

| patient | Dice |
|---|---|
| x | 1 |

End.
"""


def patient(dice: float, *, average_precision: float | None = 0.5) -> dict[str, Any]:
    one = {"dice": dice, "iou": dice / (2 - dice), "precision": 0.8, "recall": 0.7, "pictures": 20}
    return one | {"average_precision": average_precision}


@pytest.fixture
def figures() -> dict[str, Any]:
    averaged = ("dice", "iou", "precision", "recall", "average_precision")
    means = dict.fromkeys(averaged, 0.7) | {f"{name}_95": [0.6, 0.81234] for name in averaged}
    return {
        "digest": DIGEST,
        "patients": {"first": patient(0.8), "second": patient(0.6, average_precision=None)},
        "mean_per_patient": means,
        "pooled": patient(0.75) | {"pictures": 40},
        "average_precision": 0.55,
    }


def test_table_has_every_patient_their_mean_and_all_pixels(figures: dict[str, Any]) -> None:
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table(figures)]
    assert rows[0] == ["patient", "Dice", "IoU", "precision", "recall", "AP", "pictures"]
    assert rows[3] == ["second", "0.600", "0.429", "0.800", "0.700", "-", "20"]
    assert rows[4][:2] == ["mean of 2 patients (95 %, bootstrap)", "0.700 (0.600–0.812)"]
    assert [rows[5][0], rows[5][5]] == ["all pixels pooled", "0.550"]
    del figures["patients"]["second"]
    figures["mean_per_patient"]["dice_95"] = None
    assert any(row.startswith("| mean of 1 patient ") and "| 0.700 |" in row for row in table(figures))
    del figures["mean_per_patient"]["average_precision"]
    assert "AP" not in table(figures)[0]


def test_a_card_gets_its_table_and_keeps_the_rest(figures: dict[str, Any]) -> None:
    card = with_table(CARD, figures)
    assert card.startswith("# A model\n\n| other | table |")
    assert card.endswith("\n\nEnd.\n")
    assert "| x | 1 |" not in card
    assert contradictions(figures, card=card, digest=DIGEST) == []
    assert with_table(card, figures) == card
    with pytest.raises(ValueError, match="no table"):
        with_table("no table", figures)


def test_what_does_not_fit_is_named(figures: dict[str, Any]) -> None:
    card = with_table(CARD, figures)
    assert "other weights (abab" in contradictions(figures, card=card, digest="0" * 64)[0]
    swapped = card.replace("0.800  ", "?").replace("0.600  ", "0.800  ").replace("?", "0.600  ")
    assert any("first" in wrong for wrong in contradictions(figures, card=swapped, digest=DIGEST))
    figures["mean_per_patient"]["dice"] = 0.75
    kinder = with_table(card, figures)
    (wrong,) = contradictions(figures, card=kinder, digest=DIGEST)
    assert "mean Dice 0.750 is not that of its patients, 0.700" in wrong


def test_deviations_name_patient_stated_and_found(figures: dict[str, Any]) -> None:
    found = {"patients": {"first": patient(0.7955), "second": patient(0.6051)}}
    assert deviations(figures, found) == ["second: Dice 0.600 stated, 0.605 found"]
    assert patients_at_hand(figures, ("third", "second")) == ("second",)


def test_files_of_figures_are_rounded_and_checked(figures: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    figures["pooled"]["dice"] = 2 / 3
    file.write_text(as_json(figures))
    assert read_figures(file)["pooled"]["dice"] == 0.66667
    for damaged in ("{", "[]", '{"digest": ""}'):
        file.write_text(damaged)
        with pytest.raises(ValueError, match="not a file of figures"):
            read_figures(file)
