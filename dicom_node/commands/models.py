"""``dicom-node models …``: what the models are, whether they are intact, and how well they do."""

import hashlib
import json
import re
from pathlib import Path

import click

from dicom_node.commands.options import UsageFailure, config_options, settings_from
from inference.model import Model

DIGEST_IN_CARD = re.compile(r"SHA-256:? `([0-9a-f]{64})`")


@click.group()
def models() -> None:
    """The models: list, cards, check, training, evaluation."""


@models.command("list")
@config_options
def list_models(config: Path | None, data_dir: Path | None) -> None:
    """Name, version and digest of every model."""
    from inference.models import MODELS

    repository = settings_from(config, {}).engine.repository
    for model in MODELS:
        file = _weights(repository, model)
        digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "weights missing"
        click.echo(f"{model.spec.name}  version {model.spec.version}  {digest[:16]}  {model.spec.licence}")


@models.command()
@click.argument("name")
@config_options
def card(name: str, config: Path | None, data_dir: Path | None) -> None:
    """Print the card of a model."""
    repository = settings_from(config, {}).engine.repository
    click.echo((repository / model_named(name).spec.name / "CARD.md").read_text(encoding="utf-8"))


@models.command()
@config_options
def verify(config: Path | None, data_dir: Path | None) -> None:
    """Compare the weights with their cards and run each model once; exit status 1 where one fails."""
    from dicom_node.app import make_engine
    from inference.engines.base import EngineError, run_canary
    from inference.models import MODELS

    settings = settings_from(config, {})
    engine = make_engine(settings.engine)
    failures = 0
    for model in MODELS:
        try:
            failure = _mismatch(settings.engine.repository, model)
            if not failure:
                run_canary(engine, model.spec)
        except EngineError as error:
            failure = str(error)
        failures += bool(failure)
        click.echo(f"{model.spec.name}: {failure or 'intact, runs'}")
    if failures:
        raise click.ClickException("models are damaged or do not fit this version: install them again")


@models.command()
@click.argument("name")
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@config_options
def evaluate(name: str, data: Path, as_json: bool, config: Path | None, data_dir: Path | None) -> None:
    """Measure a model on a folder with one folder of PNG pairs a patient."""
    from dicom_node.app import make_engine
    from inference.training.evaluation import evaluate as measure

    settings = settings_from(config, {})
    figures = measure(model_named(name), make_engine(settings.engine), data)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    for patient, one in figures["patients"].items():
        click.echo(f"{patient:<28} Dice {one['dice']:.3f}  IoU {one['iou']:.3f}  {one['pictures']} pictures")
    mean = figures["mean_per_patient"]
    low, high = mean["dice_95"]
    click.echo(f"{'mean over patients':<28} Dice {mean['dice']:.3f}  (95 % {low:.3f}-{high:.3f})")
    click.echo(f"{'all pictures pooled':<28} Dice {figures['pooled']['dice']:.3f}  IoU {figures['pooled']['iou']:.3f}")


def model_named(name: str) -> Model:
    """The model of that name. Raises ``UsageFailure`` listing those there are."""
    from inference.models import MODELS

    for model in MODELS:
        if model.spec.name == name:
            return model
    raise UsageFailure(f"no model is called {name!r}; there are {', '.join(model.spec.name for model in MODELS)}")


def _weights(repository: Path, model: Model) -> Path:
    return repository / model.spec.name / model.spec.version / "model.onnx"


def _mismatch(repository: Path, model: Model) -> str:
    """What is wrong between the weights and the card; empty where nothing is."""
    weights, card_file = _weights(repository, model), repository / model.spec.name / "CARD.md"
    if not weights.exists() or not card_file.exists():
        return f"{weights} or its CARD.md is missing"
    stated = DIGEST_IN_CARD.search(card_file.read_text(encoding="utf-8"))
    actual = hashlib.sha256(weights.read_bytes()).hexdigest()
    if stated is None or stated[1] != actual:
        return f"the weights ({actual[:16]}) are not the ones that the card describes"
    return ""
