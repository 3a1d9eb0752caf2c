"""``dicom-node check-config | echo``: is the configuration right, and do the destinations answer?"""

from pathlib import Path

import click

from dicom_node.commands.options import UsageFailure, common_overrides, config_options, settings_from
from dicom_node.errors import NodeError
from dicom_node.settings import ScpSettings


@click.command("check-config")
@config_options
def check_config(config: Path | None, data_dir: Path | None) -> None:
    """Check the settings file, the routing rules and the certificates; tell every mistake at once."""
    from dicom_node.routing import load_rules
    from dicom_node.tls import examine_all
    from dicom_node.web.stow import read_token

    settings = settings_from(config, common_overrides(data_dir=data_dir))
    found = examine_all(settings)
    if found.mistakes:
        raise UsageFailure("the certificates have mistakes:\n  " + "\n  ".join(found.mistakes))
    try:
        load_rules(settings.routing_rules)
    except NodeError as error:
        raise UsageFailure(f"{settings.routing_rules} has mistakes:\n  " + str(error).replace("\n", "\n  ")) from error
    try:
        if settings.web.stow is not None:
            read_token(settings.web.stow.token_file)
    except NodeError as error:
        raise UsageFailure(f"the configuration has mistakes:\n  {error}") from error
    peers = ", ".join(peer.ae_title for peer in settings.scp.peers) or "programs on this machine only"
    click.echo(f"the configuration is sound: {settings.scp.ae_title} on {_ports(settings.scp)}, takes from {peers}")
    for warning in found.warnings:
        click.echo(f"  soon: {warning}")
    if settings.engine.kind == "triton":
        click.echo(f"  models on {', '.join(settings.engine.triton.addresses)}")
    if settings.web.stow is not None:
        click.echo(f"  STOW-RS: POST http://{settings.web.bind}:{settings.web.port}/dicom-web/studies, with the token")
    for peer in settings.scp.peers:
        if peer.commitment is not None:
            encrypted = "" if peer.commitment.tls is None else ", over TLS"
            place = f"{peer.ae_title}@{peer.commitment.host}:{peer.commitment.port}"
            click.echo(f"  reports of storage commitment to {place}{encrypted}")
    for destination in settings.destinations:
        encrypted = "" if destination.tls is None else ", over TLS"
        place = f"{destination.ae_title}@{destination.host}:{destination.port}"
        click.echo(f"  results to {destination.name}: {place}{encrypted}")
    if not settings.destinations:
        click.echo("  no destination: results stay in the data folder")


def _ports(scp: ScpSettings) -> str:
    if scp.tls is None:
        return f"port {scp.port}, unencrypted"
    mutual = "TLS" if scp.tls.ca is not None else "TLS without certificates of the senders"
    if scp.tls.port is None:
        return f"port {scp.port}, {mutual}"
    return f"port {scp.port}, unencrypted, and port {scp.tls.port}, {mutual}"


@click.command()
@click.argument("name")
@config_options
def echo(name: str, config: Path | None, data_dir: Path | None) -> None:
    """Ask the configured destination NAME whether it is there (C-ECHO)."""
    from dicom_node.delivery import DimseDestination

    settings = settings_from(config, common_overrides(data_dir=data_dir))
    destination = settings.destination(name)
    if destination is None:
        known = ", ".join(one.name for one in settings.destinations) or "none"
        raise UsageFailure(f"no destination is called {name!r}; configured: {known}")
    try:
        DimseDestination(destination, calling_ae=settings.scp.ae_title).echo()
    except NodeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{name} answers: {destination.ae_title}@{destination.host}:{destination.port}")
