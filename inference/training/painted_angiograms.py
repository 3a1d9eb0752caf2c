"""What the embolism models learn from a real angiogram: its slices with painted clots, and as they are.

One real patient is all there is, so parts of the series are held back: of its lungs' height the first and third quarter
train, the second and fourth tell how well it went (``HELD_BACK``). The same patient's other slices are no other
patient: such figures are better than those of a stranger's angiogram would be.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.engines.base import Engine
from inference.models import LungsUnet
from inference.models.angiogram_preparation import Field, field_around, neighbour_step
from inference.phantoms.clot_boxes import clot_boxes
from inference.pipelines.lung_regions import NoLungs, find_lungs
from inference.pipelines.working_grid import enlarged, reduced
from inference.training.angiograms import CENTRE_JITTER_MM, RUN, Angiograms
from inference.training.painted_ct import PaintedCt, VesselTree, find_vessels, paint_clots
from inference.volume import Volume

TRAINING = (0, 2)
HELD_BACK = (1, 3)
"""Quarters of the lungs' height, from below."""
APART_MM = 5.0
"""At a quarter's ends: slices that belong to neither side, because they show vessels of the next quarter."""
PAINTINGS, BARE = 60, 20
"""Times that the series is painted; times that it is taken as it is."""
RUNS_A_QUARTER = 3
MORE = 5
"""Times as many clots as a patient has: every run is to show some."""
ZOOM = (0.88, 1.14)
"""Other patients are larger or smaller."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RealAngiogram:
    """A CT angiogram, presumed free of emboli, with what painting needs."""

    volume: Volume
    left_lung: NDArray[np.bool_]
    right_lung: NDArray[np.bool_]
    vessels: VesselTree

    @classmethod
    def of(cls, volume: Volume, engine: Engine) -> "RealAngiogram":
        """Finds lungs and vessels. Raises ``EngineError``, and ``ValueError`` where there are none."""
        model, small = LungsUnet(), reduced(volume)
        outputs = engine.run(model.spec, model.prepare(volume))
        try:
            found = find_lungs(model.interpret(outputs, small) > 0, small)
        except NoLungs as refusal:
            raise ValueError(f"the angiogram cannot be painted: {refusal}") from refusal
        left, right = (enlarged(lung, volume.array_zyx.shape) for lung in (found.left, found.right))
        vessels = find_vessels(volume, left, right)
        if not len(vessels.ridge_zyx):
            raise ValueError("no vessel with contrast was found in the lungs: is it an angiogram?")
        return cls(volume=volume, left_lung=left, right_lung=right, vessels=vessels)

    @property
    def lungs(self) -> NDArray[np.bool_]:
        """Both."""
        return self.left_lung | self.right_lung

    def quarter(self, number: int) -> range:
        """Slices of that quarter of the lungs' height, without ``APART_MM`` at both ends."""
        used = np.flatnonzero(self.lungs.any(axis=(1, 2)))
        first, height = int(used[0]), int(used[-1]) + 1 - int(used[0])
        apart = math.ceil(APART_MM / self.volume.spacing_xyz_mm[2])
        return range(first + number * height // 4 + apart, first + (number + 1) * height // 4 - apart)

    def field(self) -> Field:
        """Around the lungs, as in service."""
        x_mm, y_mm, _ = self.volume.spacing_xyz_mm
        return field_around(self.lungs, pixel_xy_mm=(x_mm, y_mm))

    def painted(self, seed: int, *, more: int = MORE) -> PaintedCt:
        """With ``more`` times as many clots as a patient has.

        Seeds of training and of figures never meet (``inference.training.angiograms``).
        """
        return paint_clots(self.volume, self.vessels, np.random.default_rng((seed, 5)), more=more)

    def bare(self) -> PaintedCt:
        """As it is."""
        return PaintedCt(volume=self.volume, clots=np.zeros(self.volume.array_zyx.shape, np.bool_))


def painted_angiograms(
    real: RealAngiogram,
    quarters: tuple[int, ...],
    *,
    first_seed: int,
    paintings: int = PAINTINGS,
    bare: int = BARE,
    changed: bool = True,
) -> Angiograms:
    """Runs of neighbouring slices of those quarters; ``changed``: moved and zoomed, to learn from.

    Raises ``ValueError`` where a quarter is shorter than a run.
    """
    grey, boxes = [], []
    # Neighbours as far apart as in service.
    step = neighbour_step(real.volume.spacing_xyz_mm[2])
    reach = (RUN - 1) * step
    as_served = real.field()
    parts = [real.quarter(quarter) for quarter in quarters]
    shortest = min(map(len, parts))
    if shortest <= reach:
        raise ValueError(f"a quarter of the lungs has {shortest} slices; training needs {reach + 1} or more")
    for number in range(paintings + bare):
        rng = np.random.default_rng((first_seed + number, 6))
        picture = real.painted(first_seed + number) if number < paintings else real.bare()
        for slices in parts:
            for _ in range(RUNS_A_QUARTER):
                first = int(rng.integers(slices.start, slices.stop - reach))
                part = range(first, first + reach + 1, step)
                field = _changed(as_served, rng) if changed else as_served
                grey.append(np.stack([field.picture(picture.volume.array_zyx[k]) for k in part]))
                boxes.append(tuple(boxes_on(picture, k, field) for k in part))
    return Angiograms(grey=np.stack(grey), boxes=tuple(boxes))


def boxes_on(picture: PaintedCt, k: int, field: Field) -> NDArray[np.float32]:
    """Boxes (n, 4) around the clots of one slice, in pixels of the prepared picture."""
    found = clot_boxes(picture.clots[k], pixel_mm=picture.volume.spacing_xyz_mm[0])
    return field.from_volume(found).astype(np.float32)


def joined(first: Angiograms, second: Angiograms) -> Angiograms:
    """Both, in this order."""
    return Angiograms(grey=np.concatenate([first.grey, second.grey]), boxes=first.boxes + second.boxes)


def _changed(field: Field, rng: np.random.Generator) -> Field:
    """Moved and zoomed a little."""
    zoom = float(rng.uniform(*ZOOM))
    x, y = (
        centre + float(rng.normal(0, CENTRE_JITTER_MM)) / pixel
        for centre, pixel in zip(field.centre_xy_px, field.pixel_xy_mm, strict=True)
    )
    x_mm, y_mm = field.pixel_xy_mm
    return Field(centre_xy_px=(x, y), pixel_xy_mm=(x_mm * zoom, y_mm * zoom))
