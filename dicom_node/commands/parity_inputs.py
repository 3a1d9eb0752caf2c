"""What models are compared on: generated studies for all of them, patients for those that mark voxels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inference.engines.output_parity import PATIENT_MASKS, PHANTOM_MASKS, MaskLimits
from inference.model import ModelSpec, Tensors
from inference.models import InfectionUnet, LungsUnet, PeClassifier, PeDetector
from inference.models.angiogram_preparation import field_around, prepared_slices
from inference.models.slice_preparation import INPUT, OUTPUT

if TYPE_CHECKING:
    from inference.training.cases import CaseReader

GATE_SEED = 41
CALIBRATION_SEED = 42
"""Of the phantoms that integers are calibrated on: others than the gate compares."""
PHANTOM_SLICES = 8
PHANTOM_SIZE_PX = 256
PATIENTS = 4
"""At most; evenly over the folder."""
PATIENT_SLICES = 6
"""Of each, evenly from the first to the last."""

Run = Callable[[ModelSpec, Tensors], Tensors]
"""Outputs of a model for inputs, as ``Engine.run``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityInputs:
    """Inputs of one model. ``of``: what they show, in words."""

    spec: ModelSpec
    inputs: Tensors
    of: str
    masks: MaskLimits


def phantom_inputs(run: Run, *, seed: int = GATE_SEED) -> list[ParityInputs]:
    """Of every model, from a generated chest CT and angiogram. ``run`` finds the lungs; raises what it raises."""
    from inference.phantoms import chest_ct
    from inference.phantoms.ctpa import ctpa

    classifier, detector = PeClassifier(), PeDetector()
    chest = chest_ct(seed=seed, slices=PHANTOM_SLICES, size_px=PHANTOM_SIZE_PX)
    angiogram = ctpa(seed=seed, slices=PHANTOM_SLICES, size_px=PHANTOM_SIZE_PX)
    field = field_around(angiogram.left_lung | angiogram.right_lung, pixel_xy_mm=angiogram.volume.spacing_xyz_mm[:2])
    pictures = prepared_slices(angiogram.volume, field, slice(0, PHANTOM_SLICES))
    given = [
        *_of_u_nets(run, LungsUnet().prepare(chest.volume)),
        (classifier.spec, classifier.prepare(pictures)),
        (detector.spec, detector.prepare(pictures)),
    ]
    return [ParityInputs(spec=spec, inputs=inputs, of="a phantom", masks=PHANTOM_MASKS) for spec, inputs in given]


def patient_inputs(run: Run, data: Path, readers: "Sequence[CaseReader]") -> list[ParityInputs]:
    """Of the models that mark voxels, from labelled patients below ``data``. Raises ``ValueError`` where none is."""
    from inference.training.cases import case_names, read_case
    from inference.training.evaluation.evaluate import prepared_case

    names = case_names(data, readers)
    if not names:
        raise ValueError(f"{data} holds no labelled patient in any layout of docs/training.md")
    chosen = [names[k] for k in np.unique(np.linspace(0, len(names) - 1, PATIENTS).astype(int))]
    slices = []
    for name in chosen:
        prepared = prepared_case(read_case(data / name, readers))
        slices.append(prepared[np.unique(np.linspace(0, len(prepared) - 1, PATIENT_SLICES).astype(int))])
    given = _of_u_nets(run, {INPUT.name: np.concatenate(slices)})
    of = f"{sum(map(len, slices))} slices of {len(chosen)} patients"
    return [ParityInputs(spec=spec, inputs=inputs, of=of, masks=PATIENT_MASKS) for spec, inputs in given]


def _of_u_nets(run: Run, slices: Tensors) -> list[tuple[ModelSpec, Tensors]]:
    lungs, infection = LungsUnet(), InfectionUnet()
    found = run(lungs.spec, slices)[OUTPUT.name] > 0
    return [(lungs.spec, slices), (infection.spec, infection.prepare(slices[INPUT.name], found))]
