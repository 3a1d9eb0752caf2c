"""One command from labelled pictures to a served model: train, choose the threshold, export, evaluate."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference.engines.embedded import EmbeddedEngine
from inference.model import Model
from inference.training.evaluation import choose_threshold, evaluate
from inference.training.export import export_onnx
from inference.training.pictures import Pictures, phantom_pictures, read_cases, read_split
from inference.training.recipes import RECIPES
from inference.training.trainer import GREY_LEVELS, Material, train

SPLIT = "covid19_ct_seg_png"


def train_and_export(model: Model, *, data: Path, out: Path, steps: int | None, progress: bool) -> dict[str, Any]:
    """Run the shipped recipe (``steps``: one cycle of that length).

    ``out`` gets ``<name>/1/model.onnx`` and ``figures.json``.

    Returns the figures on the validation patients, whom only the threshold and the choice of weights have seen.
    """
    recipe = RECIPES[model.spec.name]
    if steps is not None:
        recipe = replace(recipe, cycles=(replace(recipe.cycles[0], steps=steps),))
    patients, validation_patients = read_split(SPLIT)
    validation = read_cases(data, validation_patients)
    material = Material(
        real=read_cases(data, patients),
        phantoms=phantom_pictures(seeds=recipe.phantom_seeds, slices=recipe.phantom_slices),
        validation=validation,
    )
    network = train(recipe, material, out=out, progress=progress)
    threshold = choose_threshold(probabilities(network, validation), validation.target(model.spec.name))
    export_onnx(network, threshold=threshold, spec=model.spec, target=out / model.spec.name / "1" / "model.onnx")
    figures = evaluate(model, EmbeddedEngine(repository=out), data, validation_patients)
    figures |= {"threshold": threshold, "steps": sum(cycle.steps for cycle in recipe.cycles)}
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


@torch.inference_mode()
def probabilities(network: torch.nn.Module, pictures: Pictures) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Foreground probability of every pixel (n, 256, 256)."""
    network = network.to("cpu").eval()
    parts = [
        torch.sigmoid(network(torch.from_numpy(part[:, None].astype(np.float32) / GREY_LEVELS)))[:, 0].numpy()
        for part in np.array_split(pictures.grey, max(len(pictures.grey) // 8, 1))
    ]
    return np.concatenate(parts)
