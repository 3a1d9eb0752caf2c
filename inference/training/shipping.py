"""From labelled data to a served model: train, choose the threshold, export, evaluate."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from inference.engines.base import Engine
from inference.engines.embedded import EmbeddedEngine
from inference.engines.parity import MaskParity
from inference.model import Model
from inference.models.slice_preparation import INPUT, LUNGS, OUTPUT, SIZE_PX
from inference.training.cases import Case, CaseReader, case_names, read_case
from inference.training.evaluation import choose_threshold, evaluate
from inference.training.evaluation.stated import as_json
from inference.training.export import ServedUnet, export_onnx
from inference.training.foreign_weights import start_of
from inference.training.lung_finder import lungs_by
from inference.training.prediction import AT_ONCE, log_odds, sigmoid
from inference.training.prepared_pictures import FindLungs, Pictures, phantom_cases, prepared_cases
from inference.training.recipes.base import Recipe, Target
from inference.training.splits import Split, split_for
from inference.training.trainer import Material, train


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledData:
    """The cases of a folder, their split, and the lungs that the served lung model finds in them."""

    folder: Path
    readers: Sequence[CaseReader]
    split: Split
    find_lungs: FindLungs

    @classmethod
    def of(cls, folder: Path, readers: Sequence[CaseReader], *, kept_split: Path, engine: Engine) -> "LabelledData":
        """Raises ``ValueError`` where the folder holds no cases or the split does not fit."""
        names = case_names(folder, readers)
        split = split_for(names, kept=kept_split)
        return cls(folder=folder, readers=readers, split=split, find_lungs=lungs_by(engine))

    def cases(self, names: Sequence[str]) -> list[Case]:
        """Read. Raises ``ValueError``."""
        return [read_case(self.folder / name, self.readers) for name in names]


def train_recipe(
    recipe: Recipe, data: LabelledData, *, out: Path, resume: bool, progress: bool
) -> tuple[nn.Module, Pictures]:
    """The network with the best weights on the validation patients, and those patients' pictures.

    It begins with weights that ``models import`` put into ``out``, where it did.

    Raises ``ValueError`` where the recipe begins with weights of another that are not in the folder beside ``out``.
    """
    start = start_of(out) or (out.parent / recipe.starts_from / "best.pt" if recipe.starts_from else None)
    if start is not None and not start.exists():
        raise ValueError(f"{recipe.name} begins with the weights of {recipe.starts_from}: train that first, to {start}")
    validation = prepared_cases(data.cases(data.split.validation), recipe, data.find_lungs)
    phantoms = phantom_cases(seeds=recipe.phantom_seeds, slices=recipe.phantom_slices)
    material = Material(
        real=prepared_cases(data.cases(data.split.train), recipe, data.find_lungs),
        phantoms=prepared_cases(phantoms, recipe, data.find_lungs) if phantoms else None,
        validation=validation,
    )
    return train(recipe, material, out=out, start=start, resume=resume, progress=progress), validation


def ship(
    model: Model,
    members: Sequence[Recipe],
    data: LabelledData,
    *,
    out: Path,
    repository: Path,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train the recipes of a served model and export them, as one graph, to a model repository.

    ``out`` gets a folder of training curves a recipe, ``<name>/<version>/model.onnx`` and ``<name>/figures.json``.
    ``repository``: where the lung model is that lesion models need.

    Returns the figures on the validation patients, whom only the choice of weights and of the threshold have seen.
    """
    trained = [
        (recipe, *train_recipe(recipe, data, out=out / recipe.name, resume=resume, progress=progress))
        for recipe in members
    ]
    found = sigmoid(np.mean([log_odds(network, recipe, pictures) for recipe, network, pictures in trained], axis=0))
    recipe, _, pictures = trained[0]
    threshold = choose_threshold(
        found, pictures.target(recipe.target), pictures.patient, mildest=recipe.target is Target.LUNGS
    )
    target = out / model.spec.name / model.spec.version / "model.onnx"
    served = export_onnx(
        [(recipe, network) for recipe, network, _ in trained], threshold=threshold, spec=model.spec, target=target
    )
    lungs = out / "lungs_unet"
    if not lungs.exists():
        lungs.symlink_to((repository / "lungs_unet").resolve(), target_is_directory=True)
    engine = EmbeddedEngine(repository=out)
    parity = _parity(model, served, engine, pictures)
    figures = evaluate(model, engine, data.folder, data.split.validation, readers=data.readers, graph=target)
    (target.parent.parent / "figures.json").write_text(as_json(figures), encoding="utf-8")
    facts = {"threshold": threshold, "parity": asdict(parity)}
    (out / "export.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    if not parity.holds:
        raise ValueError(f"the engine's masks are not those of the network in float32: {parity}; it must not be served")
    return figures


@torch.inference_mode()
def _parity(model: Model, served: ServedUnet, engine: Engine, pictures: Pictures) -> MaskParity:
    """The engine against the network in float32, on the validation pictures at the size that is served."""
    index = ((np.arange(SIZE_PX) + 0.5) * pictures.grey.shape[-1] / SIZE_PX).astype(int)
    every: dict[str, NDArray[Any]] = {
        INPUT.name: pictures.grey[:, index][:, :, index][:, None].astype(np.float16),
        LUNGS.name: pictures.lungs[:, index][:, :, index],
    }
    inputs = {spec.name: every[spec.name] for spec in model.spec.inputs}
    parts = [
        served(*(torch.from_numpy(tensor[first : first + AT_ONCE]) for tensor in inputs.values())).numpy()
        for first in range(0, len(pictures), AT_ONCE)
    ]
    return MaskParity.of(np.concatenate(parts), engine.run(model.spec, inputs)[OUTPUT.name])
