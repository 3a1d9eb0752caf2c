"""How well the embolism models do on phantoms that were held back: slices for the models, studies for the pipeline.

All of it is synthetic, or painted into one real angiogram: no evidence of what the models do on patients. Runs through
the engine that serves, without torch. Slices are the runs of ``inference.training.angiograms`` with the test seeds;
studies are ``ctpa`` phantoms of other test seeds, half of them without emboli.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.engines.base import Engine
from inference.findings import Condition, Findings, Presence
from inference.model import Model
from inference.models import PeClassifier, PeDetector
from inference.phantoms.clot_boxes import clot_boxes
from inference.phantoms.ctpa import ctpa
from inference.pipelines.embolus_linking import SMALLEST_PEAK
from inference.pipelines.pulmonary_embolism import GATE, PulmonaryEmbolism
from inference.training.angiograms import TEST_SEEDS, Angiograms, grown_angiograms
from inference.training.evaluation.detection import OVERLAPS, PictureBoxes, average_precision, hit_boxes, iou
from inference.training.painted_angiograms import HELD_BACK, TRAINING, RealAngiogram, painted_angiograms

PATIENTS, STUDIES = 30, 3
"""Patients whose slices are looked at; whole studies with, and as many without, emboli."""
STUDY_SLICES, STUDY_PX = 100, 512
STUDIES_FROM = 500
"""Position of the first whole study among the test seeds: not the patients of the slices."""
TOUCHING_IOU = 0.1
"""With which a box of an embolus touches a true one: the clot was found, if not outlined."""
REAL_PAINTINGS, REAL_BARE = 10, 4
"""Times that a real angiogram is painted, and taken as it is."""
OF_PAINTED = (
    "AP at IoU 0.3",
    "AP at IoU 0.5",
    f"recall at IoU 0.5, score {SMALLEST_PEAK}",
    f"precision at IoU 0.5, score {SMALLEST_PEAK}",
    "false boxes on a slice without embolus",
    "accuracy",
    "sensitivity",
    "specificity",
    "area under the ROC curve",
)
DATA_SET = "synthetic CT pulmonary angiograms, test seeds"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCount:
    """What the pipeline said of one whole study. ``false_emboli`` touch no true box."""

    normal: bool
    presence: Presence
    emboli: int
    false_emboli: int


def measure_embolism_model(
    model: Model,
    engine: Engine,
    *,
    patients: int = PATIENTS,
    studies: int = STUDIES,
    real: RealAngiogram | None = None,
) -> dict[str, Any]:
    """Figures of ``pe_detector`` or ``pe_classifier``, ready for JSON; also of a painted ``real`` angiogram.

    Raises ``EngineError``.
    """
    identity = engine.identity(model.spec)
    angiograms = grown_angiograms(TEST_SEEDS[:patients])
    detector = isinstance(model, PeDetector)
    figures = _detection(engine, angiograms) if detector else _classification(engine, angiograms)
    if studies:
        figures |= _of_studies(whole_studies(engine, studies), boxes=detector)
    if real is not None:
        figures |= _of_painted(engine, real, detector=detector)
        figures |= _as_it_is(engine, real, boxes=detector)
    return {
        "model": identity.name,
        "version": identity.version,
        "digest": identity.digest,
        "data_set": DATA_SET,
        "phantoms": {"patients": patients, "slices": len(angiograms.centres()), "studies": 2 * studies},
        "figures": figures,
    }


def _of_painted(engine: Engine, real: RealAngiogram, *, detector: bool) -> dict[str, Any]:
    """The slices of the angiogram that were held back from training, with painted clots and as they are."""
    held_back = painted_angiograms(
        real, HELD_BACK, first_seed=TEST_SEEDS[0], paintings=REAL_PAINTINGS, bare=REAL_BARE, changed=False
    )
    found = _detection(engine, held_back) if detector else _classification(engine, held_back)
    return {f"painted CT: {name}": value for name, value in found.items() if name in OF_PAINTED}


def _as_it_is(engine: Engine, real: RealAngiogram, *, boxes: bool) -> dict[str, Any]:
    """What the pipeline says of the angiogram without painted clots."""
    findings = PulmonaryEmbolism().run(real.volume, engine)
    if not boxes:
        classification = findings.classification(Condition.PULMONARY_EMBOLISM)
        return {"real CT as it is: said": classification.presence.value if classification else findings.reason}
    trained = {k for quarter in TRAINING for k in real.quarter(quarter)}
    unseen = sum(all(box.slice_index not in trained for box in embolus.boxes) for embolus in findings.emboli)
    return {
        "real CT as it is: false emboli": len(findings.emboli),
        "real CT as it is: of these in slices that did not train": unseen,
    }


def _detection(engine: Engine, angiograms: Angiograms) -> dict[str, Any]:
    """Average precision as in figure 5 of the paper, and false boxes where there is no clot."""
    detector = PeDetector()
    pictures, truth = _pictures(angiograms)
    found = engine.run(detector.spec, detector.prepare(pictures))["boxes"]
    boxes = [PictureBoxes(found=one[one[:, 4] > 0], true=true) for one, true in zip(found, truth, strict=True)]
    figures: dict[str, Any] = {
        f"AP at IoU {overlap}": average_precision(boxes, overlap=overlap) for overlap in OVERLAPS
    }
    sure = [PictureBoxes(found=one.found[one.found[:, 4] >= SMALLEST_PEAK], true=one.true) for one in boxes]
    hits = sum(int(hit_boxes(one, overlap=0.5).sum()) for one in sure)
    figures[f"recall at IoU 0.5, score {SMALLEST_PEAK}"] = hits / max(sum(len(one.true) for one in sure), 1)
    figures[f"precision at IoU 0.5, score {SMALLEST_PEAK}"] = hits / max(sum(len(one.found) for one in sure), 1)
    empty = [one for one in sure if not len(one.true)]
    figures["false boxes on a slice without embolus"] = sum(len(one.found) for one in empty) / max(len(empty), 1)
    return figures


def _classification(engine: Engine, angiograms: Angiograms) -> dict[str, Any]:
    """Accuracy and what the gate lets pass."""
    pictures, boxes = _pictures(angiograms)
    probability = classifier_probabilities(engine, pictures)
    truth = np.array([len(true) > 0 for true in boxes])
    said = probability >= 0.5
    passed = probability >= GATE
    return {
        "accuracy": float(np.mean(said == truth)),
        "share of slices with embolus": float(truth.mean()),
        "sensitivity": float(said[truth].mean()),
        "specificity": float((~said[~truth]).mean()),
        "area under the ROC curve": roc_area(probability, truth),
        f"gate: slices with embolus passed (≥ {GATE})": float(passed[truth].mean()),
        "gate: slices without embolus passed": float(passed[~truth].mean()),
    }


def classifier_probabilities(engine: Engine, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of an embolus on each slice, from ``prepared_slices``."""
    classifier = PeClassifier()
    found: NDArray[np.float32] = engine.run(classifier.spec, classifier.prepare(pictures))["probabilities"]
    return found[:, 1]


def whole_studies(engine: Engine, studies: int) -> list[StudyCount]:
    """The pipeline on ``studies`` phantoms with emboli and as many without."""
    counts = []
    for index in range(2 * studies):
        normal = index >= studies
        phantom = ctpa(seed=TEST_SEEDS[STUDIES_FROM + index], slices=STUDY_SLICES, size_px=STUDY_PX, normal=normal)
        findings = PulmonaryEmbolism().run(phantom.volume, engine)
        clots = phantom.clots if phantom.clots is not None else np.zeros(phantom.left_lung.shape, np.bool_)
        counts.append(_counted(findings, clots, normal=normal, pixel_mm=phantom.volume.spacing_xyz_mm[0]))
    return counts


def _counted(findings: Findings, clots: NDArray[np.bool_], *, normal: bool, pixel_mm: float) -> StudyCount:
    classification = findings.classification(Condition.PULMONARY_EMBOLISM)
    true = {k: clot_boxes(clots[k], pixel_mm=pixel_mm) for k in np.flatnonzero(clots.any(axis=(1, 2))).tolist()}
    false = 0
    for embolus in findings.emboli:
        touches = any(
            box.slice_index in true and (iou(np.array([box.box_xyxy_px]), true[box.slice_index]) >= TOUCHING_IOU).any()
            for box in embolus.boxes
        )
        false += not touches
    return StudyCount(
        normal=normal,
        presence=classification.presence if classification else Presence.INDETERMINATE,
        emboli=len(findings.emboli),
        false_emboli=false,
    )


def _of_studies(counts: Sequence[StudyCount], *, boxes: bool) -> dict[str, Any]:
    ill, normal = [one for one in counts if not one.normal], [one for one in counts if one.normal]
    if boxes:
        return {
            "false emboli in a study without embolus": float(np.mean([one.emboli for one in normal])),
            "false emboli in a study with emboli": float(np.mean([one.false_emboli for one in ill])),
        }
    return {
        f"studies with emboli ({len(ill)}): present / undetermined / absent": _presences(ill),
        f"studies without ({len(normal)}): present / undetermined / absent": _presences(normal),
    }


def _presences(counts: Sequence[StudyCount]) -> str:
    order = (Presence.PRESENT, Presence.INDETERMINATE, Presence.ABSENT)
    return " / ".join(str(sum(one.presence is presence for one in counts)) for presence in order)


def _pictures(angiograms: Angiograms) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]]]:
    """All slices that have neighbours, and their boxes."""
    centres = angiograms.centres().tolist()
    pictures = np.stack([angiograms.picture(run, at) for run, at in centres])
    return pictures, [angiograms.boxes[run][at] for run, at in centres]


def roc_area(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """Share of pairs (with, without embolus) in the right order; ties count half."""
    differences = probability[truth][:, None] - probability[~truth][None]
    return float(np.mean((differences > 0) + 0.5 * (differences == 0)))
