"""The gate of ``dicom-node models verify --engines``: does every engine answer the same as single precision?

The reference is the network in PyTorch, float32, rebuilt from the weights in the shipped graph; where PyTorch is not
installed it is OpenVINO in float32. Every line says which.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dicom_node.commands.options import UsageFailure, engine_overrides
from dicom_node.commands.parity_inputs import ParityInputs, Run, patient_inputs, phantom_inputs
from dicom_node.settings import EngineSettings
from inference.engines.base import Engine, EngineError
from inference.engines.output_parity import SMALLEST_DICE_OF_INTEGERS, outputs_agree
from inference.model import Tensors

TORCH, OPENVINO = "torch float32", "OpenVINO float32"
EXPORT_FACTS = "export.json"
"""What ``models export`` writes beside a graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One model on one engine. ``fault``: it may not serve there; ``said`` is why, or how far it agrees."""

    model: str
    engine: str
    reference: str
    of: str
    said: str
    fault: bool


def compare_engines(
    engines: str, settings: EngineSettings, *, data: Path | None = None, originals: Path | None = None
) -> Iterator[Comparison]:
    """Every model on every engine of ``engines`` (``embedded,triton=HOST:PORT``), one after the other.

    On a phantom, and where ``data`` is given also on slices of the labelled patients there. ``originals``: the
    repository that has the models in single precision, where the engines' own has others (``models export``). Models
    whose weights are not there are left out. Raises ``UsageFailure`` for engines that are none and data without a
    patient.
    """
    from dicom_node.app import make_engine

    named = {text: engine_settings(text, settings) for text in engines_in(engines)}
    reference, said_of_it = float32_reference(originals or settings.repository)
    given = [
        (_as_exported(one, settings.repository), _expected(reference, one))
        for one in gate_inputs(reference, data)
        if (settings.repository / one.spec.name / one.spec.version / "model.onnx").exists()
    ]
    for text, chosen in named.items():
        engine = make_engine(chosen)
        for one, expected in given:
            said, fault = _compared(one, engine, expected)
            yield Comparison(model=one.spec.name, engine=text, reference=said_of_it, of=one.of, said=said, fault=fault)
        engine.close()


def float32_reference(repository: Path) -> tuple[Run, str]:
    """What runs the models of a repository in float32, and its name."""
    try:
        from inference.training.served_networks import TorchReference
    except ModuleNotFoundError:
        from inference.engines.embedded import EmbeddedEngine

        return EmbeddedEngine(repository=repository, single_precision=True).run, OPENVINO
    return TorchReference(repository).run, TORCH


def gate_inputs(reference: Run, data: Path | None) -> list[ParityInputs]:
    """What is compared. Raises ``UsageFailure`` for data that holds no patient."""
    from dicom_node.commands.labelled_studies import ALL_READERS

    given = phantom_inputs(reference)
    if data is not None:
        try:
            given += patient_inputs(reference, data, ALL_READERS)
        except ValueError as error:
            raise UsageFailure(str(error)) from error
    return given


def engines_in(text: str) -> list[str]:
    """``embedded,triton=a:1,b:1`` as ``["embedded", "triton=a:1,b:1"]``."""
    found: list[str] = []
    for part in text.split(","):
        if found and ":" in part and "=" not in part:
            found[-1] += f",{part}"  # a further address of the same engine
        else:
            found.append(part)
    return found


def engine_settings(text: str, settings: EngineSettings) -> EngineSettings:
    """``settings`` with the engine that ``text`` names. Raises ``UsageFailure``."""
    overrides = engine_overrides(text)
    tree = settings.model_dump()
    triton = {**tree["triton"], **overrides.pop("triton", {}), "fallback": "wait"}  # type: ignore[dict-item]
    try:
        return EngineSettings.model_validate({**tree, **overrides, "triton": triton})
    except ValueError as error:
        raise UsageFailure(f"--engines {text}: {error}") from error


def _as_exported(given: ParityInputs, repository: Path) -> ParityInputs:
    """With the limits of integers where ``models export`` has made the model compute in them."""
    try:
        facts = json.loads((repository / given.spec.name / EXPORT_FACTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return given
    integers = facts.get("precision") == "int8"
    return replace(given, masks=replace(given.masks, dice=SMALLEST_DICE_OF_INTEGERS)) if integers else given


def _expected(reference: Run, given: ParityInputs) -> Tensors | EngineError:
    """What the reference says, or why it says nothing."""
    try:
        return reference(given.spec, given.inputs)
    except EngineError as error:
        return error


def _compared(given: ParityInputs, engine: Engine, expected: Tensors | EngineError) -> tuple[str, bool]:
    """How far the engine agrees, and whether that is a fault."""
    try:
        if isinstance(expected, EngineError):
            raise expected
        parity = outputs_agree(given.spec, expected, engine.run(given.spec, given.inputs), masks=given.masks)
    except EngineError as error:
        return str(error), True
    return parity.said, not parity.holds
