"""Slices with and without clots, of phantoms and of a painted real angiogram, drawn at random."""

import numpy as np
from numpy.typing import NDArray

from inference.training.angiograms import Angiograms

PAINTED_SHARE = 0.5
"""Of the slices drawn, where there is a real angiogram: one patient against hundreds of phantoms."""


class SlicePool:
    """Every slice that has neighbours, sorted by what it shows."""

    def __init__(self, phantoms: Angiograms, painted: Angiograms | None = None) -> None:
        self._sources = tuple(_Source(one) for one in (phantoms, painted) if one is not None)

    def draw(self, *, filled: bool, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """A picture (3, 416, 416) and its boxes (n, 4); ``filled``: with clots."""
        source = self._sources[int(rng.uniform() < PAINTED_SHARE) if len(self._sources) > 1 else 0]
        return source.draw(filled=filled, rng=rng)


class _Source:
    def __init__(self, angiograms: Angiograms) -> None:
        self._angiograms = angiograms
        centres = angiograms.centres()
        shows = np.array([len(angiograms.boxes[run][at]) > 0 for run, at in centres])
        self._pools = (centres[~shows], centres[shows])

    def draw(self, *, filled: bool, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        pool = self._pools[filled] if len(self._pools[filled]) else self._pools[not filled]
        run, at = pool[int(rng.integers(len(pool)))].tolist()
        return self._angiograms.picture(run, at), self._angiograms.boxes[run][at]
