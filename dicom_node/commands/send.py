"""``dicom-node send``: send the DICOM files of a folder, as a modality would."""

from pathlib import Path

import click

from dicom_node.commands.options import UsageFailure
from dicom_node.errors import PeerUnavailable, SettingsError

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("address", metavar="AET@HOST:PORT")
@click.option("--ca", type=FILE, help="Send over TLS to a peer whose certificate this authority has signed (PEM).")
@click.option("--certificate", type=FILE, help="Over TLS: our certificate, where the peer asks for one (PEM).")
@click.option("--key", type=FILE, help="Its private key (PEM).")
def send(folder: Path, address: str, ca: Path | None, certificate: Path | None, key: Path | None) -> None:
    """Send the DICOM files below FOLDER by C-STORE; exit status 1 where one was not accepted."""
    from dicom_node.delivery import Address, send_folder
    from dicom_node.settings import PeerTlsSettings

    if (certificate is None) != (key is None) or (certificate is not None and ca is None):
        raise UsageFailure("--certificate and --key go together, and with --ca")
    tls = None if ca is None else PeerTlsSettings(ca=ca, certificate=certificate, key=key)
    try:
        outcomes = send_folder(folder, Address.parse(address), tls=tls)
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
