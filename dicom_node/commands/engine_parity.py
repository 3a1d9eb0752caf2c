"""The gate of ``dicom-node models verify --engines``: does every engine give the same masks as single precision?"""

from collections.abc import Iterator
from dataclasses import dataclass

from dicom_node.commands.options import UsageFailure, engine_overrides
from dicom_node.settings import EngineSettings
from inference.engines.base import Engine, EngineError
from inference.engines.parity import SMALLEST_DICE, MaskParity
from inference.model import ModelSpec, Tensors
from inference.models import MODELS, InfectionUnet, LungsUnet
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

    Measured is Dice alone, as a phantom holds several times as much rim of lesions as a patient does, and labels differ
    on rims. Raises ``UsageFailure`` for engines that are none.
    """
    from dicom_node.app import make_engine
    from inference.engines.embedded import EmbeddedEngine

    named = {text: engine_settings(text, settings) for text in engines_in(engines)}
    reference = EmbeddedEngine(repository=settings.repository, single_precision=True)
    given = phantom_inputs(reference)
    for text, chosen in named.items():
        engine = make_engine(chosen)
        for model in MODELS:
            yield _compared(model.spec, text, engine, reference, given.get(model.spec.name))
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


def phantom_inputs(reference: Engine) -> dict[str, Tensors]:
    """Inputs of the models by their names, from one phantom. Raises ``EngineError``."""
    from inference.phantoms import chest_ct

    lungs, infection = LungsUnet(), InfectionUnet()
    given = lungs.prepare(chest_ct(seed=PHANTOM_SEED, slices=PHANTOM_SLICES, size_px=PHANTOM_SIZE_PX).volume)
    found = reference.run(lungs.spec, given)[OUTPUT.name] > 0
    return {lungs.spec.name: given, infection.spec.name: infection.prepare(given[INPUT.name], found)}


def _compared(
    spec: ModelSpec, engine_text: str, engine: Engine, reference: Engine, given: Tensors | None
) -> Comparison:
    if given is None:
        return Comparison(model=spec.name, engine=engine_text, said="no phantom to compare engines on", fault=True)
    try:
        expected = reference.run(spec, given)[OUTPUT.name]
        parity = MaskParity.of(expected, engine.run(spec, given)[OUTPUT.name])
    except EngineError as error:
        return Comparison(model=spec.name, engine=engine_text, said=str(error), fault=True)
    return Comparison(
        model=spec.name,
        engine=engine_text,
        said=f"Dice {parity.dice:.4f}, {parity.disagreement:.1e} of the labels differ from single precision",
        fault=parity.dice < SMALLEST_DICE,
    )
