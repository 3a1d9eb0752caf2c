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
                click.echo(f"{_shown(outcome.path.relative_to(folder))}: {outcome.refusal}", err=True)
    except ResourceExhausted as error:
        raise click.ClickException(f"{_counted(offered - refused, 'instance')} taken, then: {error}") from error
    except NodeError as error:
        raise UsageFailure(str(error)) from error
    click.echo(f"{offered - refused} of {_counted(offered, 'file')} taken")
    if not offered:
        raise click.ClickException("the folder holds no files")
    if refused:
        raise click.ClickException(f"{_counted(refused, 'file')} not taken")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _shown(path: Path) -> str:
    """Without what would steer the terminal, and without bytes that are no text: files are named by anybody."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in str(path))
