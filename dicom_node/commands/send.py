"""``dicom-node send``: send the DICOM files of a folder, as a modality would."""

from pathlib import Path

import click

from dicom_node.commands.options import UsageFailure
from dicom_node.errors import PeerUnavailable, SettingsError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("address", metavar="AET@HOST:PORT")
def send(folder: Path, address: str) -> None:
    """Send the DICOM files below FOLDER by C-STORE; exit status 1 where one was not accepted."""
    from dicom_node.delivery import Address, send_folder

    try:
        outcomes = send_folder(folder, Address.parse(address))
    except SettingsError as error:
        raise UsageFailure(str(error)) from error
    except PeerUnavailable as error:
        raise click.ClickException(str(error)) from error
    refused = [outcome for outcome in outcomes if not outcome.accepted]
    for outcome in refused:
        click.echo(f"{outcome.sop_instance_uid}: {outcome.message}", err=True)
    click.echo(f"{len(outcomes) - len(refused)} of {len(outcomes)} instances accepted by {address}")
    if refused or not outcomes:
        raise click.ClickException("nothing to send" if not outcomes else f"{len(refused)} instances were not accepted")
