"""The gate of ``dicom-node models verify --engines``: does every engine answer the same as single precision?

The reference is the network in PyTorch, float32, rebuilt from the weights in the shipped graph; where PyTorch is not
installed it is OpenVINO in float32. Every line says which.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dicom_node.commands.options import UsageFailure, engine_overrides
from dicom_node.commands.parity_inputs import ParityInputs, Run, patient_inputs, phantom_inputs
from dicom_node.settings import EngineSettings
from inference.engines.base import Engine, EngineError
from inference.engines.output_parity import outputs_agree

TORCH, OPENVINO = "torch float32", "OpenVINO float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One model on one engine. ``fault``: it may not serve there; ``said`` is why, or how far it agrees."""

    model: str
    engine: str
    reference: str
    of: str
    said: str
    fault: bool


def compare_engines(engines: str, settings: EngineSettings, *, data: Path | None = None) -> Iterator[Comparison]:
    """Every model on every engine of ``engines`` (``embedded,triton=HOST:PORT``), one after the other.

    On a phantom, and where ``data`` is given also on slices of the labelled patients there. Models whose weights are
    not there are left out. Raises ``UsageFailure`` for engines that are none and data that holds no patient.
    """
    from dicom_node.app import make_engine

    named = {text: engine_settings(text, settings) for text in engines_in(engines)}
    reference, said_of_it = float32_reference(settings.repository)
    given = gate_inputs(reference, data)
    for text, chosen in named.items():
        engine = make_engine(chosen)
        for one in given:
            if (settings.repository / one.spec.name / one.spec.version / "model.onnx").exists():
                said, fault = _compared(one, engine, reference)
                yield Comparison(
                    model=one.spec.name, engine=text, reference=said_of_it, of=one.of, said=said, fault=fault
                )
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


def _compared(given: ParityInputs, engine: Engine, reference: Run) -> tuple[str, bool]:
    """How far the engine agrees, and whether that is a fault."""
    try:
        expected = reference(given.spec, given.inputs)
        parity = outputs_agree(given.spec, expected, engine.run(given.spec, given.inputs), masks=given.masks)
    except EngineError as error:
        return str(error), True
    return parity.said, not parity.holds
