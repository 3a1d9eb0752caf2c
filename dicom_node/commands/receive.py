"""``dicom-node receive``: take the DICOM files of a folder into a node, as if a modality had sent them."""

from pathlib import Path

import click

from dicom_node.commands.options import UsageFailure, common_overrides, config_options, settings_from
from dicom_node.errors import NodeError, ResourceExhausted


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@config_options
def receive(folder: Path, config: Path | None, data_dir: Path | None) -> None:
    """Take the DICOM files below FOLDER into a node, running or not; exit status 1 where one was not taken."""
    from dicom_node.app import receive as receive_files

    settings = settings_from(config, common_overrides(data_dir=data_dir))
    offered = refused = 0
    try:
        for outcome in receive_files(settings, folder):
            offered += 1
            if outcome.refusal:
                refused += 1
                click.echo(f"{outcome.path.relative_to(folder)}: {outcome.refusal}", err=True)
    except ResourceExhausted as error:
        raise click.ClickException(f"{offered - refused} instances were taken, then: {error}") from error
    except NodeError as error:
        raise UsageFailure(str(error)) from error
    click.echo(f"{offered - refused} of {offered} files taken")
    if refused or not offered:
        raise click.ClickException(f"{refused} files were not taken" if offered else "the folder holds no files")
