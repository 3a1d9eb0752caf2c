"""From seeds, and a real angiogram where there is one, to a served embolism model.

Material, training, graph, parity with the engine, figures.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference.engines.base import Engine
from inference.engines.embedded import EmbeddedEngine
from inference.engines.output_parity import outputs_agree
from inference.model import Model
from inference.models import PeClassifier, PeDetector
from inference.training.angiograms import TRAINING_SEEDS, VALIDATION_SEEDS, Angiograms, kept_angiograms
from inference.training.embolism_export import ServedClassifier, ServedDetector, export_embolism_model
from inference.training.embolism_trainer import Task, train_embolism_model
from inference.training.evaluation.embolism import measure_embolism_model
from inference.training.evaluation.stated import as_json
from inference.training.foreign_weights import detector_recipe, start_of, training_folder
from inference.training.painted_angiograms import TRAINING, RealAngiogram, joined, painted_angiograms
from inference.training.recipes.pe_classifier import PE_CLASSIFIER, ClassifierTask
from inference.training.recipes.pe_detector import ANCHORS, PE_DETECTOR, DetectorTask
from inference.training.slice_pool import SlicePool
from inference.volume import Volume

PARITY_PICTURES = 48
JUDGE_PAINTINGS, JUDGE_BARE = 8, 3
"""Times that the real angiogram is painted, and taken as it is, to choose weights."""


def ship_embolism_model(
    name: str,
    *,
    out: Path,
    repository: Path,
    imagenet: Path | None = None,
    angiogram: Volume | None = None,
    steps: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train ``pe_detector`` or ``pe_classifier`` and export it; goes on where it was killed.

    It learns from phantoms; then, where there is a real ``angiogram`` (presumed free of emboli), from phantoms and from
    clots painted into a part of that. It begins with the weights that ``models import`` put there, where it did, in
    their size.

    ``out`` gets the material, the training's files, ``<name>/<version>/model.onnx`` and ``<name>/figures.json``. Whole
    studies are measured too where both models are in ``out`` or in ``repository``. Raises ``ValueError`` where ``out``
    holds another training, the angiogram shows no lungs or vessels, or the engine differs from the network.
    """
    model: Model = PeDetector() if name == PeDetector().spec.name else PeClassifier()
    recipe = PE_DETECTOR.at(steps=steps) if name == PE_DETECTOR.name else PE_CLASSIFIER.at(steps=steps)
    material = kept_angiograms(TRAINING_SEEDS[: recipe.patients], out / "training.npz")
    validation = kept_angiograms(VALIDATION_SEEDS[: recipe.validation_patients], out / "validation.npz")
    folder = training_folder(name, out)
    start = start_of(folder)

    def task(pool: SlicePool, judge: Angiograms) -> Task:
        if name == PE_DETECTOR.name:
            return DetectorTask(detector_recipe(start), pool, judge)
        return ClassifierTask(PE_CLASSIFIER, pool, judge, imagenet=imagenet)

    network = train_embolism_model(
        task(SlicePool(material), validation),
        recipe.pace,
        seed=recipe.seed,
        out=folder,
        start=start,
        resume=True,
        progress=progress,
    )
    real = None if angiogram is None else RealAngiogram.of(angiogram, EmbeddedEngine(repository=repository))
    if real is not None:
        painted = painted_angiograms(real, TRAINING, first_seed=TRAINING_SEEDS[0])
        # The parts held back have no say in which weights are kept, so that their figures mean something.
        judge = painted_angiograms(
            real, TRAINING, first_seed=VALIDATION_SEEDS[0], paintings=JUDGE_PAINTINGS, bare=JUDGE_BARE
        )
        network = train_embolism_model(
            task(SlicePool(material, painted), joined(validation, judge)),
            recipe.painted_pace,
            seed=recipe.seed,
            out=out / f"{name}-painted",
            start=folder / "best.pt",
            resume=True,
            progress=progress,
        )
    served = ServedDetector(network, ANCHORS) if name == PE_DETECTOR.name else ServedClassifier(network)
    target = out / name / model.spec.version / "model.onnx"
    export_embolism_model(served, spec=model.spec, target=target)
    others = [one for one in ("lungs_unet", "pe_detector", "pe_classifier") if one != name]
    for other in others:
        if not (out / other).exists() and (repository / other).exists():
            (out / other).symlink_to((repository / other).resolve(), target_is_directory=True)
    engine = EmbeddedEngine(repository=out)
    check_parity(model, served, engine, validation)
    complete = all((out / other).exists() for other in others)
    figures = measure_embolism_model(model, engine, real=real, **({} if complete else {"studies": 0}))
    (out / name / "figures.json").write_text(as_json(figures), encoding="utf-8")
    return figures


def check_parity(model: Model, served: torch.nn.Module, engine: Engine, validation: Angiograms) -> None:
    """Raises ``ValueError`` where the engine says something else than the network in float32."""
    centres = validation.centres()
    chosen = centres[:: max(len(centres) // PARITY_PICTURES, 1)].tolist()
    pictures = np.stack([validation.picture(run, at) for run, at in chosen])
    prepare: Callable[..., Any] = model.prepare  # type: ignore[attr-defined]  # both models have it
    given = prepare(pictures)
    with torch.inference_mode():
        expected = served.float().eval()(torch.from_numpy(given["slices"])).numpy()
    found = engine.run(model.spec, given)[model.spec.outputs[0].name]
    parity = outputs_agree(model.spec, {model.spec.outputs[0].name: expected}, {model.spec.outputs[0].name: found})
    if not parity.holds:
        raise ValueError(f"the engine differs from the network ({parity.said}); it must not be served")


def as_text(figures: dict[str, Any]) -> str:
    """One line for the terminal."""
    return json.dumps(figures["figures"], ensure_ascii=False)
