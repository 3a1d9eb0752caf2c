"""``dicom-node models configs``: what Triton is told of every model, written from its specification."""

import hashlib
from pathlib import Path

import click

from dicom_node.commands.models import weights_file
from dicom_node.commands.options import config_options, settings_from


@click.command()
@config_options
def configs(config: Path | None, data_dir: Path | None) -> None:
    """For who changes a model: write config.pbtxt, configs/cpu.pbtxt and model.py of every model for Triton."""
    from inference.engines.triton_config import write_bundle
    from inference.models import EVERY_MODEL

    repository = settings_from(config, {}).engine.repository
    for model in EVERY_MODEL:
        weights = weights_file(repository, model)
        if not weights.exists():
            click.echo(f"{model.spec.name}: left out, weights missing")
            continue
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        write_bundle(model.spec, repository / model.spec.name, sha256=sha256)
        click.echo(f"{model.spec.name} {model.spec.version}: configurations for {sha256[:16]}")
