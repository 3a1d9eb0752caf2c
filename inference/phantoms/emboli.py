"""Filling defects in pulmonary arteries: clots of random number, size, place and form.

Owns their statistics. Numbers and volumes follow the 114 connected components of the 35 masks of FUMPE (Masoudi et al.,
Sci Data 2018, doi 10.1038/sdata.2018.180): 1 to 7 clots a patient, half of them under 1 ml, one in ten above 17 ml.
Forms are those that readers name: central ("polo mint" across, "railway track" along the vessel), eccentric (on the
wall), complete.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from inference.phantoms.capsules import Capsules
from inference.phantoms.trees import Segments

COUNTS = (1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4, 5, 6, 7)
"""Clots of a patient, as often as in FUMPE (one patient with 15 is left out)."""
MEDIAN_ML, LOG_SPREAD = 1.05, 2.0
"""Of a clot's volume, lognormal: quartiles 0.3, 1.05 and 4.9 ml in FUMPE."""
SMALLEST_ML, LARGEST_ML = 0.08, 40.0
CLOT_HU = (40.0, 110.0)
THINNEST_MM = 1.8
"""Radius of the thinnest arteries that are given a clot: segmental ones."""
LENGTH_TO_RADIUS = 2.5
"""Of a usual clot; decides how thick an artery a clot of some volume is put into."""
BOTH_BRANCHES = 0.35
"""Chance that a clot runs on into both branches of a fork."""


class Form(Enum):
    """How a clot lies in its artery."""

    CENTRAL = "central"
    """Contrast all around it."""
    ECCENTRIC = "eccentric"
    """Against one side of the wall."""
    COMPLETE = "complete"
    """Nothing passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clot:
    """One filling defect; only what of ``body`` lies in the artery counts."""

    form: Form
    hu: float
    body: Capsules


def draw_clots(arteries: Segments, rng: np.random.Generator) -> tuple[Clot, ...]:
    """Clots of one patient; at least one."""
    children: dict[int, list[int]] = {}
    for piece, parent in enumerate(arteries.parents.tolist()):
        children.setdefault(parent, []).append(piece)
    return tuple(_draw_clot(arteries, children, rng) for _ in range(int(rng.choice(COUNTS))))


def _draw_clot(arteries: Segments, children: dict[int, list[int]], rng: np.random.Generator) -> Clot:
    volume_mm3 = 1000.0 * float(np.clip(MEDIAN_ML * np.exp(rng.normal(0, LOG_SPREAD)), SMALLEST_ML, LARGEST_ML))
    wanted = float(np.clip((volume_mm3 / (np.pi * LENGTH_TO_RADIUS)) ** (1 / 3), THINNEST_MM, 10.0))
    weights = np.exp(-((np.log(arteries.radii_mm / wanted) / 0.25) ** 2)) * (arteries.radii_mm >= THINNEST_MM)
    start = int(rng.choice(len(weights), p=weights / weights.sum()))
    form = form_in(float(arteries.radii_mm[start]), rng)
    share = {Form.COMPLETE: 1.0, Form.CENTRAL: rng.uniform(0.55, 0.8), Form.ECCENTRIC: rng.uniform(0.55, 0.85)}[form]
    towards = rng.normal(size=3)
    ends: list[NDArray[np.float64]] = []
    radii: list[float] = []
    waiting, begin = [start], float(rng.uniform(0, 0.6))
    while waiting and volume_mm3 > 0:
        piece = waiting.pop(0)
        lumen = float(arteries.radii_mm[piece])
        first, last = arteries.ends_mm[piece]
        first, begin = first + begin * (last - first), 0.0
        length = float(np.linalg.norm(last - first))
        radius = lumen * float(share) * float(rng.uniform(0.85, 1.1))
        needed = volume_mm3 / (np.pi * min(radius, lumen) ** 2)
        if needed < length:
            last = first + needed / length * (last - first)
        volume_mm3 -= np.pi * min(radius, lumen) ** 2 * min(length, needed)
        aside = _across(towards, last - first) * (lumen - radius) if form is Form.ECCENTRIC else np.zeros(3)
        ends.append(np.stack([first + aside, last + aside]))
        radii.append(max(radius, 0.9) if form is not Form.COMPLETE else lumen + 0.6)
        waiting += _next_pieces(piece, arteries, children, rng)
    return Clot(
        form=form, hu=float(rng.uniform(*CLOT_HU)), body=Capsules(ends_mm=np.stack(ends), radii_mm=np.array(radii))
    )


def form_in(lumen_mm: float, rng: np.random.Generator) -> Form:
    """Of a clot in a lumen of that radius: central arteries are hardly ever closed, small ones mostly."""
    closed = float(np.clip(0.8 - 0.08 * lumen_mm, 0.05, 0.65))
    return Form(rng.choice([form.value for form in Form], p=[(1 - closed) * 0.55, (1 - closed) * 0.45, closed]))


def _next_pieces(piece: int, arteries: Segments, children: dict[int, list[int]], rng: np.random.Generator) -> list[int]:
    """Where a clot runs on: the wider branch more often, sometimes both."""
    after = [child for child in children.get(piece, []) if arteries.radii_mm[child] >= THINNEST_MM]
    if len(after) < 2 or rng.uniform() < BOTH_BRANCHES:
        return after
    area = arteries.radii_mm[after] ** 2
    return [after[int(rng.choice(len(after), p=area / area.sum()))]]


def _across(towards: NDArray[np.float64], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vector at a right angle to ``along``, as near to ``towards`` as can be."""
    unit = along / max(float(np.linalg.norm(along)), 1e-6)
    across = towards - (towards @ unit) * unit
    result: NDArray[np.float64] = across / max(float(np.linalg.norm(across)), 1e-6)
    return result
