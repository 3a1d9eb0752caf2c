"""Splits of patients: the committed one, and those made for other data."""

from itertools import chain
from pathlib import Path

import pytest

from inference.training.splits import COMMITTED, read_split, split_for


def test_split_keeps_patients_apart() -> None:
    split = read_split(COMMITTED)
    assert not set(split.train) & set(split.validation)
    for side in (split.train, split.validation):
        assert len({name.split("_")[0] for name in side}) == 2  # both sources
        assert len(set(side)) == len(side)
    uncertain = {"radiopaedia_29_86490_1", "radiopaedia_29_86491_1"}
    for side in (split.validation, *split.folds):
        assert len(uncertain & set(side)) in (0, 2)


def test_folds_hold_every_training_patient_back_once() -> None:
    split = read_split(COMMITTED)
    assert sorted(chain(*split.folds)) == sorted(split.train)


def test_transfer_never_tests_what_it_learnt_from() -> None:
    parts = read_split(COMMITTED).transfer
    assert not set(parts.first) & set(parts.first_test)
    assert not set(parts.small_part) & set(parts.second_test)
    assert {name.split("_")[0] for name in (*parts.first, *parts.first_test)} == {"coronacases"}
    assert {name.split("_")[0] for name in (*parts.small_part, *parts.second_test)} == {"radiopaedia"}


def test_the_public_data_get_the_committed_split(tmp_path: Path) -> None:
    committed = read_split(COMMITTED)
    names = (*committed.train, *committed.validation, "one_more")
    assert split_for(names, kept=tmp_path / "split.toml") == committed


def test_other_data_get_a_split_that_is_kept(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(10)]
    kept = tmp_path / "run" / "split.toml"
    split = split_for(names, kept=kept)
    assert sorted(split.train + split.validation) == sorted(names)
    assert len(split.validation) == 2
    assert sorted(chain(*split.folds)) == sorted(split.train)
    kept.write_text(kept.read_text().replace("Made by", "Looked at after it was made by"))
    assert split_for(names, kept=kept, seed=99) == split  # the file decides, not the seed
    with pytest.raises(ValueError, match="p3"):
        split_for([name for name in names if name != "p3"], kept=kept)


def test_one_patient_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two patients"):
        split_for(["alone"], kept=tmp_path / "split.toml")
