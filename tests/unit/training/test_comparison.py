"""Tables of held-back patients whose overlap is known."""

from pathlib import Path

import numpy as np
import pytest

from inference.training.cases import Case
from inference.training.comparison import as_markdown, compare


def case(name: str) -> Case:
    """Lung in rows 0-7, lesion in rows 0-3; a last slice without lung, which nobody predicts."""
    palette = np.zeros((3, 8, 8), np.uint8)
    palette[:2], palette[:2, :4] = 1, 2
    return Case(name=name, slices=palette * 50, palette=palette)


def keep(out: Path, recipe: str, rows: dict[str, int]) -> None:
    """A recipe that marks the first rows of every slice of each patient, in 8 bit at 200."""
    patients = {}
    for name, count in rows.items():
        patients[name] = np.zeros((2, 8, 8), np.uint8)
        patients[name][:, :count] = 200
    np.savez(out / f"{recipe}.npz", **patients)


def test_recipes_and_their_means_are_ranked(tmp_path: Path) -> None:
    cases = [case("ann"), case("bob")]
    keep(tmp_path, "timid", {"ann": 2, "bob": 4})
    keep(tmp_path, "bold", {"ann": 4, "bob": 8})
    rows = {one.name: one for one in compare(tmp_path, cases, ["timid", "bold"])}
    assert rows["timid"].patients == pytest.approx({"ann": 2 / 3, "bob": 1.0})
    assert rows["bold"].patients == pytest.approx({"ann": 1.0, "bob": 2 / 3})
    assert rows["timid"].pooled_dice == pytest.approx(2 * 6 / 14)
    # The mean of both is 200 where they agree and 100 where one marks: only the former is over one half.
    assert rows["timid + bold"].patients == pytest.approx(rows["timid"].patients)
    assert rows["timid + bold"].average_precision == pytest.approx(6 / 8 * 1 + 2 / 8 * 8 / 12)
    text = as_markdown(list(rows.values()))
    assert "| timid | 0.833 |" in text
    assert (tmp_path / "comparison.json").exists()
