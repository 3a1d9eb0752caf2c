"""The gate of ``dicom-node models verify --engines``: does every engine answer the same as single precision?"""

from collections.abc import Iterator
from dataclasses import dataclass

from dicom_node.commands.options import UsageFailure, engine_overrides
from dicom_node.settings import EngineSettings
from inference.engines.base import Engine, EngineError
from inference.engines.output_parity import outputs_agree
from inference.model import ModelSpec, Tensors
from inference.models import InfectionUnet, LungsUnet, PeClassifier, PeDetector
from inference.models.angiogram_preparation import field_around, prepared_slices
from inference.models.slice_preparation import INPUT, OUTPUT

PHANTOM_SEED = 41
PHANTOM_SLICES = 8
PHANTOM_SIZE_PX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One model on one engine. ``fault``: it may not serve there; ``said`` is why, or how far it agrees."""

    model: str
    engine: str
    said: str
    fault: bool


def compare_engines(engines: str, settings: EngineSettings) -> Iterator[Comparison]:
    """Every model on every engine of ``engines`` (``embedded,triton=HOST:PORT``), on a phantom, one after the other.

    Models whose weights are not there are left out. Raises ``UsageFailure`` for engines that are none.
    """
    from dicom_node.app import make_engine
    from inference.engines.embedded import EmbeddedEngine

    named = {text: engine_settings(text, settings) for text in engines_in(engines)}
    reference = EmbeddedEngine(repository=settings.repository, single_precision=True)
    given = phantom_inputs(reference)
    for text, chosen in named.items():
        engine = make_engine(chosen)
        for spec, inputs in given:
            if (settings.repository / spec.name / spec.version / "model.onnx").exists():
                yield _compared(spec, text, engine, reference, inputs)
        engine.close()


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


def phantom_inputs(reference: Engine) -> list[tuple[ModelSpec, Tensors]]:
    """Inputs of every model, from a chest CT and an angiogram that are generated. Raises ``EngineError``."""
    from inference.phantoms import chest_ct
    from inference.phantoms.ctpa import ctpa

    lungs, infection, classifier, detector = LungsUnet(), InfectionUnet(), PeClassifier(), PeDetector()
    given = lungs.prepare(chest_ct(seed=PHANTOM_SEED, slices=PHANTOM_SLICES, size_px=PHANTOM_SIZE_PX).volume)
    found = reference.run(lungs.spec, given)[OUTPUT.name] > 0
    angiogram = ctpa(seed=PHANTOM_SEED, slices=PHANTOM_SLICES, size_px=PHANTOM_SIZE_PX)
    field = field_around(angiogram.left_lung | angiogram.right_lung, pixel_xy_mm=angiogram.volume.spacing_xyz_mm[:2])
    pictures = prepared_slices(angiogram.volume, field, slice(0, PHANTOM_SLICES))
    return [
        (lungs.spec, given),
        (infection.spec, infection.prepare(given[INPUT.name], found)),
        (classifier.spec, classifier.prepare(pictures)),
        (detector.spec, detector.prepare(pictures)),
    ]


def _compared(spec: ModelSpec, engine_text: str, engine: Engine, reference: Engine, given: Tensors) -> Comparison:
    try:
        parity = outputs_agree(spec, reference.run(spec, given), engine.run(spec, given))
    except EngineError as error:
        return Comparison(model=spec.name, engine=engine_text, said=str(error), fault=True)
    return Comparison(model=spec.name, engine=engine_text, said=parity.said, fault=not parity.holds)
