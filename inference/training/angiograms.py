"""What the embolism models learn from: short runs of neighbouring slices of many phantom patients, with boxes.

Owns which seeds are for training, validation and test; the ranges never meet. Slices are prepared as in service
(``inference.models.angiogram_preparation``).
"""

import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.models.angiogram_preparation import Field, field_around
from inference.phantoms.clot_boxes import clot_boxes
from inference.phantoms.ctpa import AngiogramPatient

TRAINING_SEEDS = range(1_000_000, 2_000_000)
VALIDATION_SEEDS = range(2_000_000, 2_001_000)
TEST_SEEDS = range(3_000_000, 3_001_000)
"""Of patients; the demonstration and the tests use seeds below 1000."""

RUN = 6
"""Neighbouring slices of one run; the first and the last serve as neighbours only."""
RUNS = 2
"""Of one patient."""
NORMAL_SHARE = 0.25
"""Patients without clots."""
AT_A_CLOT = 0.8
"""Share of the runs that are laid through a clot."""
NEIGHBOURS_MM = (1.5, 3.0)
"""Distances of neighbours that ``neighbour_step`` leaves, for slices of 0.5 to 3 mm."""
CENTRE_JITTER_MM = 10.0
_LOWEST_MM, _HIGHEST_MM = -110.0, 60.0
"""Around the carina: heights at which arteries of some size lie."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Angiograms:
    """``grey`` (runs, RUN, 416, 416) uint8.

    ``boxes``: of every run and slice, (n, 4) in pixels of the picture.
    """

    grey: NDArray[np.uint8]
    boxes: tuple[tuple[NDArray[np.float32], ...], ...]

    def centres(self) -> NDArray[np.int64]:
        """Every (run, slice) that has both neighbours."""
        runs = np.repeat(np.arange(len(self.grey)), RUN - 2)
        return np.stack([runs, np.tile(np.arange(1, RUN - 1), len(self.grey))], axis=1)

    def picture(self, run: int, at: int) -> NDArray[np.uint8]:
        """(3, 416, 416): a slice between its neighbours."""
        return self.grey[run, at - 1 : at + 2]


def grown_angiograms(seeds: Iterable[int], *, size_px: int = 512) -> Angiograms:
    """Runs of the patients with these seeds, made on all processors that this process may use."""
    seeds = list(seeds)
    # Not forked: a copy of a process whose other threads held a lock waits for that lock for ever.
    with ProcessPoolExecutor(
        len(os.sched_getaffinity(0)), get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        parts = list(pool.map(_runs, seeds, [size_px] * len(seeds), chunksize=4))
    return Angiograms(
        grey=np.concatenate([grey for grey, _ in parts]), boxes=tuple(boxes for _, runs in parts for boxes in runs)
    )


def kept_angiograms(seeds: Iterable[int], file: Path) -> Angiograms:
    """The same, from ``file`` if it is there, else grown and written to it."""
    if file.exists():
        with np.load(file) as kept:
            counts, flat = kept["counts"], kept["boxes"]
            split = np.split(flat, np.cumsum(counts.ravel())[:-1])
            boxes = tuple(tuple(split[row * RUN : (row + 1) * RUN]) for row in range(len(counts)))
            return Angiograms(grey=kept["grey"], boxes=boxes)
    grown = grown_angiograms(seeds)
    file.parent.mkdir(parents=True, exist_ok=True)
    every = [boxes for run in grown.boxes for boxes in run]
    counts = np.array([len(boxes) for boxes in every]).reshape(-1, RUN)
    np.savez(file, grey=grown.grey, counts=counts, boxes=np.concatenate(every))
    return grown


def _runs(seed: int, size_px: int) -> tuple[NDArray[np.uint8], list[tuple[NDArray[np.float32], ...]]]:
    rng = np.random.default_rng((seed, 3))
    patient = AngiogramPatient.draw(
        seed=seed,
        size_px=size_px,
        thickness_mm=float(rng.uniform(0.75, 3.0)),
        normal=bool(rng.uniform() < NORMAL_SHARE),
    )
    grey: list[NDArray[np.uint8]] = []
    boxes: list[tuple[NDArray[np.float32], ...]] = []
    for _ in range(RUNS):
        step_mm = float(rng.uniform(*NEIGHBOURS_MM))
        middle_mm = _middle_mm(patient, rng)
        heights = middle_mm + (np.arange(RUN) - (RUN - 1) / 2) * step_mm
        slices = [patient.slice_at(float(z), rng) for z in heights]
        lungs = np.stack([painted.left_lung | painted.right_lung for _, painted in slices])
        field = _jittered(field_around(lungs, pixel_xy_mm=(patient.scanner.pixel_mm,) * 2), rng)
        grey.append(np.stack([field.picture(stored) for stored, _ in slices]))
        boxes.append(
            tuple(
                field.from_volume(clot_boxes(painted.clots, pixel_mm=patient.scanner.pixel_mm)).astype(np.float32)
                for _, painted in slices
            )
        )
    return np.stack(grey), boxes


def _middle_mm(patient: AngiogramPatient, rng: np.random.Generator) -> float:
    clots = patient.painter.clots
    if clots and rng.uniform() < AT_A_CLOT:
        clot = clots[int(rng.integers(len(clots)))].body
        return float(clot.ends_mm[int(rng.integers(len(clot.radii_mm)))].mean(axis=0)[2] + rng.normal(0, 3))
    return patient.anatomy.carina_z_mm + float(rng.uniform(_LOWEST_MM, _HIGHEST_MM))


def _jittered(field: Field, rng: np.random.Generator) -> Field:
    x, y = (
        centre + float(rng.normal(0, CENTRE_JITTER_MM)) / pixel
        for centre, pixel in zip(field.centre_xy_px, field.pixel_xy_mm, strict=True)
    )
    return Field(centre_xy_px=(x, y), pixel_xy_mm=field.pixel_xy_mm)
