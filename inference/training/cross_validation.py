"""Recipes against each other, over patients: each fold of the training patients is held back once.

All recipes train at the same pace, without looking at the held-back fold: the last weights count. What is kept is what
the node would deliver: probabilities inside the lungs that the lung model found, at 256×256 (see ``comparison``).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.training.cases.base import Case
from inference.training.prediction import probabilities
from inference.training.prepared_pictures import FindLungs, Pictures, phantom_cases, prepared, prepared_cases
from inference.training.recipes.base import Recipe
from inference.training.trainer import Material, train

LEVELS = 255
"""Held-back probabilities are stored in 8 bit."""


def cross_validate(
    recipe: Recipe,
    cases: Sequence[Case],
    folds: Sequence[Sequence[str]],
    find_lungs: FindLungs,
    *,
    out: Path,
    progress: bool = True,
) -> None:
    """Train one network a fold and keep what it says of the patients held back, in ``out/<recipe>.npz``.

    Goes on where it was killed: folds that are done are not trained again.
    """
    stored: dict[str, NDArray[np.uint8]] = {}
    for number, fold in enumerate(folds, start=1):
        kept = out / recipe.name / f"fold{number}.npz"
        if not kept.exists():
            held_back = _fold(recipe, cases, fold, find_lungs, out=kept.with_suffix(""), progress=progress)
            np.savez_compressed(kept, **held_back)  # type: ignore[arg-type]  # NumPy's stubs mistake names
        with np.load(kept) as found:
            stored |= {name: found[name] for name in found.files}
    np.savez_compressed(out / f"{recipe.name}.npz", **stored)  # type: ignore[arg-type]


def _fold(
    recipe: Recipe, cases: Sequence[Case], fold: Sequence[str], find_lungs: FindLungs, *, out: Path, progress: bool
) -> dict[str, NDArray[np.uint8]]:
    training = [case for case in cases if case.name not in fold]
    phantoms = phantom_cases(seeds=recipe.phantom_seeds, slices=recipe.phantom_slices)
    material = Material(
        real=prepared_cases(training, recipe, find_lungs),
        phantoms=prepared_cases(phantoms, recipe, find_lungs) if phantoms else None,
    )
    network = train(recipe, material, out=out, resume=True, progress=progress)
    result = {}
    for case in cases:
        if case.name in fold:
            pictures = prepared(case, recipe, find_lungs)
            inside = probabilities(network, recipe, pictures) * lungs_at_256(pictures)
            result[case.name] = np.round(inside * LEVELS).astype(np.uint8)
    return result


def lungs_at_256(pictures: Pictures) -> NDArray[np.bool_]:
    """The lungs found, on the grid of the comparison (every fifth row and column of 320 left out)."""
    size = pictures.lungs.shape[-1]
    index = ((np.arange(256) + 0.5) * size / 256).astype(int)
    lungs: NDArray[np.bool_] = pictures.lungs[:, index][:, :, index] > 0
    return lungs
