"""``dicom-node models …``: what the models are. ``figures.py`` and ``training.py`` add the rest."""

import hashlib
from pathlib import Path

import click

from dicom_node.commands.options import UsageFailure, config_options, settings_from
from inference.model import Model


@click.group()
def models() -> None:
    """The models: list, cards, check, training, evaluation."""


@models.command("list")
@config_options
def list_models(config: Path | None, data_dir: Path | None) -> None:
    """Name, version and digest of every model."""
    from inference.models import EVERY_MODEL

    repository = settings_from(config, {}).engine.repository
    for model in EVERY_MODEL:
        file = weights_file(repository, model)
        digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "weights missing"
        click.echo(f"{model.spec.name}  version {model.spec.version}  {digest[:16]}  {model.spec.licence}")


@models.command()
@click.argument("name")
@config_options
def card(name: str, config: Path | None, data_dir: Path | None) -> None:
    """Print the card of a model."""
    repository = settings_from(config, {}).engine.repository
    click.echo(card_file(repository, model_named(name)).read_text(encoding="utf-8"))


def model_named(name: str) -> Model:
    """The model of that name. Raises ``UsageFailure`` listing those there are."""
    from inference.models import EVERY_MODEL

    for model in EVERY_MODEL:
        if model.spec.name == name:
            return model
    raise UsageFailure(f"no model is called {name!r}; there are {', '.join(model.spec.name for model in EVERY_MODEL)}")


def weights_file(repository: Path, model: Model) -> Path:
    """Where a model's graph is."""
    return repository / model.spec.name / model.spec.version / "model.onnx"


def card_file(repository: Path, model: Model) -> Path:
    """Where its card is."""
    return repository / model.spec.name / "CARD.md"
