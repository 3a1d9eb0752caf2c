"""Lungs and infected region on chest CT: which models run, and what their labels amount to.

Owns the order: prepare once, lungs on every slice, infection on the slices that hold lung, then three-dimensional
cleaning on the models' grid and measuring on the source grid. A volume that shows no lungs ends as ``NOT_ANALYSED``
with the reason; it is never an error.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from inference.engines.base import Engine
from inference.findings import Findings, Mask, ModelIdentity, Region, SeverityScore, Status
from inference.model import Model
from inference.models import InfectionUnet, LungsUnet
from inference.models.slice_preparation import INPUT
from inference.pipelines.lesion_components import Components, describe, find_components
from inference.pipelines.lung_regions import Lungs, NoLungs, find_lungs
from inference.pipelines.working_grid import cropped, enlarged, reduced
from inference.severity import LungMasks, involvement, six_zone_score
from inference.volume import Volume

AXIAL_COSINE = 0.8
"""Between the slices' normal and the patient's long axis: the models know axial pictures only (37°)."""
CUT_SHARE = 0.2
"""Of the largest lung area in any slice: more than this in the first or last slice means that lung was cut off."""

EVERYTHING = slice(0, None)
"""All rows or columns."""

Cancelled = Callable[[], bool] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LungLesions:
    """Left and right lung, infected region, lesions, involvement and six-zone score."""

    lungs: LungsUnet = field(default_factory=LungsUnet)
    infection: InfectionUnet = field(default_factory=InfectionUnet)

    @property
    def name(self) -> str:
        """As settings and results name it."""
        return "lung_lesions"

    @property
    def models(self) -> tuple[Model, ...]:
        """What it runs."""
        return self.lungs, self.infection

    def run(self, volume: Volume, engine: Engine, *, cancelled: Cancelled = None) -> Findings:
        """Findings on the volume's grid. Raises ``EngineError``."""
        clock = Clock()
        try:
            masks, components = self._masks(volume, engine, cancelled, clock)
        except NoLungs as none:
            clock.stop("postprocess")
            return Findings(
                pipeline=self.name,
                status=Status.NOT_ANALYSED,
                reason=str(none),
                models=self._identities(engine),
                timings_s=clock.seconds,
            )
        lesions = describe(components, infected=masks.infected, left=masks.left, volume=volume)
        severity = six_zone_score(masks, volume)
        lungs_model, infection_model = self._identities(engine)
        shares = involvement(masks, volume)
        clock.stop("postprocess")
        return Findings(
            pipeline=self.name,
            status=Status.POSITIVE if lesions else Status.NEGATIVE,
            reason="",
            models=(lungs_model, infection_model),
            masks=(
                Mask(region=Region.LEFT_LUNG, array_zyx=masks.left, model=lungs_model),
                Mask(region=Region.RIGHT_LUNG, array_zyx=masks.right, model=lungs_model),
                Mask(region=Region.INFECTED_REGION, array_zyx=masks.infected, model=infection_model),
            ),
            lesions=lesions,
            involvement=shares,
            severity=() if severity is None else (severity,),
            notes=_notes(masks, severity),
            timings_s=clock.seconds,
        )

    def _masks(
        self, volume: Volume, engine: Engine, cancelled: Cancelled, clock: "Clock"
    ) -> tuple[LungMasks, Components]:
        """Masks on the volume's grid, and the lesions on the models' grid. Raises ``NoLungs``, ``EngineError``."""
        if not is_axial(volume):
            raise NoLungs("the slices are not axial: the models read axial chest CT only")
        inputs = self.lungs.prepare(volume)
        small = reduced(volume)
        clock.stop("prepare")
        outputs = engine.run(self.lungs.spec, inputs, cancelled=cancelled)
        clock.stop("engine")
        lungs = find_lungs(self.lungs.interpret(outputs, small) > 0, small)
        with_lung = lung_span(lungs)
        clock.stop("postprocess")
        both = lungs.left | lungs.right
        # Both models take the same prepared slices (a test holds their specifications together).
        inputs = self.infection.prepare(inputs[INPUT.name][with_lung], both[with_lung])
        outputs = engine.run(self.infection.spec, inputs, cancelled=cancelled)
        clock.stop("engine")
        marked = np.zeros(small.array_zyx.shape, np.bool_)
        marked[with_lung] = self.infection.interpret(outputs, cropped(small, (with_lung, EVERYTHING, EVERYTHING))) > 0
        components = find_components(marked & both, small)
        shape = volume.array_zyx.shape
        with ThreadPoolExecutor() as pool:  # OpenCV and NumPy let other threads run meanwhile
            left, right, infected = pool.map(
                lambda mask: enlarged(mask, shape), (lungs.left, lungs.right, components.mask)
            )
        # In place: each array of this size that is not made saves a twentieth of a second.
        np.greater(right, left, out=right)  # right and not left
        np.logical_and(infected, np.logical_or(left, right), out=infected)
        return LungMasks(left=left, right=right, infected=infected), components

    def _identities(self, engine: Engine) -> tuple[ModelIdentity, ModelIdentity]:
        return engine.identity(self.lungs.spec), engine.identity(self.infection.spec)


def is_axial(volume: Volume) -> bool:
    """Whether the slices lie across the patient."""
    normal = np.cross(volume.index_to_patient[:3, 0], volume.index_to_patient[:3, 1])
    return abs(float(normal[2])) > AXIAL_COSINE * float(np.linalg.norm(normal))


def lung_span(lungs: Lungs) -> slice:
    """From the first to the last slice that holds lung."""
    occupied = np.flatnonzero(lungs.left.any(axis=(1, 2)) | lungs.right.any(axis=(1, 2)))
    return slice(int(occupied[0]), int(occupied[-1]) + 1)


def _notes(masks: LungMasks, severity: SeverityScore | None) -> tuple[str, ...]:
    notes = []
    for name, lung in (("left", masks.left), ("right", masks.right)):
        area = np.count_nonzero(lung, axis=(1, 2))
        if not area.any():
            notes.append(f"The {name} lung was not found; its involvement is not known.")
        elif max(area[0], area[-1]) > CUT_SHARE * area.max():
            notes.append(f"The scan does not show the whole {name} lung; volumes and score tell of the part shown.")
    if severity is None:
        notes.append("No six-zone score: it needs both lungs.")
    return tuple(notes)


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def stop(self, stage: str) -> None:
        """Book the time since the last stop."""
        now = perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
