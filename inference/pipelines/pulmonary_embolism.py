"""Pulmonary emboli on CT pulmonary angiograms: which models run, and how what they say is put together.

After Kiourt et al. 2021: a classifier gives each slice a probability and a detector puts boxes on it; both are shown,
also where they disagree. Here the classifier runs first and the detector only looks at slices that it does not rule
out, with their neighbours (its limit is low; the cards have the recall of this gate). What is no angiogram, as the
pixels tell, ends as ``NOT_ANALYSED``.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference.engines.base import Engine
from inference.findings import (
    Box,
    Classification,
    Condition,
    Embolus,
    Findings,
    ModelIdentity,
    Presence,
    Status,
)
from inference.model import Model
from inference.models import LungsUnet, PeClassifier, PeDetector
from inference.models.angiogram_preparation import Field, field_around, prepared_slices
from inference.pipelines.angiogram_gate import (
    NotAnAngiogram,
    contrast_of,
    refuse_moved,
    refuse_wide_slices,
    refuse_without_contrast,
)
from inference.pipelines.embolus_linking import Sides, link_boxes
from inference.pipelines.embolus_places import inside_chest
from inference.pipelines.lung_lesions import Cancelled, Clock, is_axial, lung_span
from inference.pipelines.lung_regions import Lungs, NoLungs, find_lungs
from inference.pipelines.working_grid import reduced, spread, thinned
from inference.volume import Volume

GATE = 0.08
"""Probability of the classifier from which a slice and its neighbours go to the detector. Chosen on validation
phantoms; what it passes of others stands in the classifier's card."""
GATE_NEIGHBOURS = 2
"""Slices on both sides."""
CLASSIFIER_SAYS_YES = 0.8
"""For the study: of the best mean over ``STUDY_RUN_MM`` along the slices. Whole validation phantoms with emboli reached
0.94 and more, those without 0.72 at most."""
STUDY_RUN_MM = 15.0
"""A clot is seen on several slices; of a hundred slices some always look like one."""
AT_ONCE = 48
"""Slices that are prepared together: 25 MB."""
LUNGS_EVERY_MM = 3.0
"""Lungs are looked for on slices no further apart than this: they only say where to look for emboli, and on which side.
On all slices of 1 mm that took longer than both embolism models."""
FEW_HU = 210.0
"""Contrast below which small clots are hard to tell from blood (Wittram, AJR 2007)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PulmonaryEmbolism:
    """Emboli with side, probability and extent; present, absent or undetermined for the study."""

    lungs: LungsUnet = field(default_factory=LungsUnet)
    classifier: PeClassifier = field(default_factory=PeClassifier)
    detector: PeDetector = field(default_factory=PeDetector)

    @property
    def name(self) -> str:
        """As settings and results name it."""
        return "pulmonary_embolism"

    @property
    def models(self) -> tuple[Model, ...]:
        """What it runs."""
        return self.lungs, self.classifier, self.detector

    def run(self, volume: Volume, engine: Engine, *, cancelled: Cancelled = None) -> Findings:
        """Findings on the volume's grid. Raises ``EngineError``."""
        clock = Clock()
        try:
            refuse_wide_slices(volume)
            if not is_axial(volume):
                raise NotAnAngiogram("the slices are not axial: the models read axial pictures only")
            small = reduced(volume)
            refuse_without_contrast(small)
            refuse_moved(small)
            lungs = self._lungs(volume, small, engine, cancelled, clock)
            contrast = contrast_of(small, lungs)
        except (NoLungs, NotAnAngiogram) as refusal:
            clock.stop("postprocess")
            return Findings(
                pipeline=self.name,
                status=Status.NOT_ANALYSED,
                reason=str(refusal),
                models=self._identities(engine),
                timings_s=clock.seconds,
            )
        clock.stop("postprocess")
        probabilities, boxes = self._slices(volume, _field(lungs, small, volume), lungs, engine, cancelled, clock)
        sides = Sides.between(lungs.left, lungs.right, small)
        emboli = link_boxes(inside_chest(boxes, volume, lungs, small), volume, side_of_x_mm=sides)
        classification = _classified(probabilities, emboli, volume)
        clock.stop("postprocess")
        return Findings(
            pipeline=self.name,
            status=Status.NEGATIVE if classification.presence is Presence.ABSENT else Status.POSITIVE,
            reason="",
            models=self._identities(engine),
            classifications=(classification,),
            emboli=emboli,
            notes=_notes(classification, emboli, contrast.trunk_hu),
            timings_s=clock.seconds,
        )

    def _lungs(self, volume: Volume, small: Volume, engine: Engine, cancelled: Cancelled, clock: Clock) -> Lungs:
        """Lungs on the grid ``small``. Raises ``NoLungs``, ``EngineError``."""
        every = max(1, int(LUNGS_EVERY_MM / volume.spacing_xyz_mm[2] + 0.01))
        inputs = self.lungs.prepare(thinned(volume, every))
        clock.stop("prepare")
        outputs = engine.run(self.lungs.spec, inputs, cancelled=cancelled)
        clock.stop("engine")
        few = thinned(small, every)
        found = find_lungs(self.lungs.interpret(outputs, few) > 0, few)
        count = len(small.array_zyx)
        return Lungs(left=spread(found.left, every, count), right=spread(found.right, every, count))

    def _slices(
        self, volume: Volume, place: Field, lungs: Lungs, engine: Engine, cancelled: Cancelled, clock: Clock
    ) -> tuple[NDArray[np.float32], list[Box]]:
        """The classifier's probability of every slice of the volume (0 outside the lungs), and all boxes."""
        probabilities = np.zeros(len(volume.array_zyx), np.float32)
        span = lung_span(lungs)
        for part in _parts(span):
            inputs = self.classifier.prepare(prepared_slices(volume, place, part))
            clock.stop("prepare")
            outputs = engine.run(self.classifier.spec, inputs, cancelled=cancelled)
            probabilities[part] = self.classifier.interpret(outputs, volume)
            clock.stop("engine")
        boxes: list[Box] = []
        suspected = gated(probabilities, span)
        for part in _parts(span):
            wanted = np.flatnonzero(suspected[part])
            if not len(wanted):
                continue
            inputs = self.detector.prepare(prepared_slices(volume, place, part)[wanted])
            clock.stop("prepare")
            found = self.detector.interpret(engine.run(self.detector.spec, inputs, cancelled=cancelled), volume)
            clock.stop("engine")
            for k, one in zip(wanted + part.start, found, strict=True):
                boxes += _boxes(int(k), one, place, volume)
        return probabilities, boxes

    def _identities(self, engine: Engine) -> tuple[ModelIdentity, ...]:
        return tuple(engine.identity(model.spec) for model in (self.classifier, self.detector, self.lungs))


def gated(probabilities: NDArray[np.float32], span: slice) -> NDArray[np.bool_]:
    """Slices that the detector looks at: those from ``GATE`` on and ``GATE_NEIGHBOURS`` on both sides, in ``span``."""
    suspected = probabilities >= GATE
    for k in np.flatnonzero(suspected.copy()):
        suspected[max(k - GATE_NEIGHBOURS, 0) : k + GATE_NEIGHBOURS + 1] = True
    suspected[: span.start] = suspected[span.stop :] = False
    return suspected


def _field(lungs: Lungs, small: Volume, volume: Volume) -> Field:
    """Of the whole volume, from lungs on the smaller grid."""
    around = field_around(lungs.left | lungs.right, pixel_xy_mm=small.spacing_xyz_mm[:2])
    scale_x = volume.array_zyx.shape[2] / small.array_zyx.shape[2]
    scale_y = volume.array_zyx.shape[1] / small.array_zyx.shape[1]
    return Field(
        centre_xy_px=(around.centre_xy_px[0] * scale_x, around.centre_xy_px[1] * scale_y),
        pixel_xy_mm=volume.spacing_xyz_mm[:2],
    )


def _parts(span: slice) -> list[slice]:
    return [slice(first, min(first + AT_ONCE, span.stop)) for first in range(span.start, span.stop, AT_ONCE)]


def _boxes(k: int, found: NDArray[np.float32], place: Field, volume: Volume) -> list[Box]:
    """Of one slice, within the picture; padding (score 0) left out."""
    rows, columns = volume.array_zyx.shape[1:]
    corners = np.clip(place.to_volume(found[:, :4]), 0, (columns, rows, columns, rows))
    result = []
    for (left, top, right, bottom), score in zip(corners.tolist(), found[:, 4].tolist(), strict=True):
        if score > 0 and right > left and bottom > top:
            result.append(Box(slice_index=k, box_xyxy_px=(left, top, right, bottom), score=score))
    return result


def _classified(probabilities: NDArray[np.float32], emboli: tuple[Embolus, ...], volume: Volume) -> Classification:
    """Both models together: present or absent where they agree, undetermined where not."""
    run = max(1, round(STUDY_RUN_MM / volume.spacing_xyz_mm[2]))
    of_slices = float(np.convolve(probabilities, np.full(run, 1 / run), mode="same").max())
    of_boxes = emboli[0].probability if emboli else 0.0
    votes = (of_slices >= CLASSIFIER_SAYS_YES) + bool(emboli)
    return Classification(
        condition=Condition.PULMONARY_EMBOLISM,
        presence=(Presence.ABSENT, Presence.INDETERMINATE, Presence.PRESENT)[votes],
        probability=float(np.clip((of_slices + of_boxes) / 2, 0, 1)),
        slice_probabilities=tuple(np.clip(probabilities, 0, 1).tolist()),
    )


def _notes(classification: Classification, emboli: tuple[Embolus, ...], trunk_hu: float) -> tuple[str, ...]:
    notes = ["The embolism models never saw a real embolus: phantoms and emboli painted into one real CT trained them."]
    if classification.presence is Presence.INDETERMINATE:
        notes.append(
            "The models disagree: emboli were marked, but the classifier suspects none on so many slices in a row."
            if emboli
            else "The models disagree: the classifier suspects an embolus, the detector marks none."
        )
    if trunk_hu < FEW_HU:
        notes.append(f"Little contrast in the pulmonary trunk ({trunk_hu:.0f} HU): small emboli may be hidden.")
    return tuple(notes)
