"""``dicom-node models train``: the recipes, from labelled data to served graphs."""

import json
from pathlib import Path

import click

from dicom_node.commands.models import model_named
from dicom_node.commands.options import UsageFailure

TRAINING_MISSING = "training needs further packages: run `make train-env`"


@click.command()
@click.argument("name")
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--steps", type=click.IntRange(min=1), help="One stage of that length instead of the recipe's.")
def train(name: str, data: Path, out: Path, steps: int | None) -> None:
    """Train a model by its recipe on a folder of PNG pairs; write the graph and its figures to --out."""
    try:
        from inference.training.shipping import train_and_export
    except ModuleNotFoundError as error:
        raise UsageFailure(TRAINING_MISSING) from error
    figures = train_and_export(model_named(name), data=data, out=out, steps=steps, progress=True)
    click.echo(json.dumps(figures["mean_per_patient"]))
