"""Which patients train and which are held back: written once, kept beside the code, read here."""

import json
import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
Names = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Patients of two sources for the transfer of paper S0."""

    first: Names = ()
    first_test: Names = ()
    small_part: Names = ()
    second_test: Names = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Names of patients. ``folds`` partition ``train``; each is held back once in cross-validation."""

    train: Names
    validation: Names
    folds: tuple[Names, ...]
    transfer: Transfer


def read_split(name: str) -> Split:
    """A committed split. Raises ``FileNotFoundError`` for one that is not there."""
    return split_of(_HERE / f"{name}.toml")


def split_of(file: Path) -> Split:
    """A split file of the form of those beside this module, for other data."""
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    return Split(
        train=tuple(content["train"]),
        validation=tuple(content["validation"]),
        folds=tuple(tuple(fold) for fold in content.get("folds", ())),
        transfer=Transfer(**{key: tuple(names) for key, names in content.get("transfer", {}).items()}),
    )


VALIDATION_SHARE = 0.2
FOLDS = 3
COMMITTED = "covid19_ct_seg_png"


def split_for(names: Sequence[str], *, kept: Path, seed: int = 1) -> Split:
    """The split of these patients: ``kept`` where there is one, the committed one where it names them, else a new one.

    A new split is by patient, seeded, and written to ``kept``. Raises ``ValueError`` for fewer than two patients, and
    where ``kept`` names patients that are not there.
    """
    if kept.exists():
        split = split_of(kept)
    elif set((committed := read_split(COMMITTED)).train + committed.validation) <= set(names):
        return committed
    else:
        split = _new_split(names, seed)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(_as_toml(split), encoding="utf-8")
    missing = sorted(set(split.train + split.validation) - set(names))
    if missing:
        raise ValueError(f"{kept} names patients that are not in the data: {', '.join(missing)}")
    return split


def _new_split(names: Sequence[str], seed: int) -> Split:
    if len(names) < 2:
        raise ValueError("a split by patient needs two patients at least: one to learn from, one to validate")
    shuffled = sorted(names)
    random.Random(seed).shuffle(shuffled)  # noqa: S311  # nothing secret
    held = max(1, round(len(shuffled) * VALIDATION_SHARE))
    train, validation = sorted(shuffled[held:]), sorted(shuffled[:held])
    folds = tuple(tuple(train[number::FOLDS]) for number in range(min(FOLDS, len(train))))
    return Split(train=tuple(train), validation=tuple(validation), folds=folds, transfer=Transfer())


def _as_toml(split: Split) -> str:
    def listed(names: Names) -> str:
        return json.dumps(list(names), ensure_ascii=False)

    folds = ", ".join(listed(fold) for fold in split.folds)
    return (
        "# Made by training; keep it: figures on patients that trained are worth nothing.\n"
        f"train = {listed(split.train)}\nvalidation = {listed(split.validation)}\nfolds = [{folds}]\n"
    )
