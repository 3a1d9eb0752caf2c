"""``dicom-node serve``: the node in the foreground."""

import os
import signal
import threading
from pathlib import Path

import click

from dicom_node.commands.options import (
    UsageFailure,
    common_overrides,
    config_options,
    engine_option,
    serve_overrides,
    settings_from,
)
from dicom_node.errors import NodeError
from dicom_node.logs import configure_logging

PATIENTS_UMASK = 0o027
"""What a node writes holds patients' data: it is for its user and group alone."""


@click.command()
@config_options
@engine_option
@click.option("--ae-title", help="Our AE title.")
@click.option("--bind", help="Address of the DICOM port.")
@click.option("--port", type=int, help="DICOM port.")
@click.option("--web-port", type=int, help="Port of the JSON API and health checks.")
@click.option("--destination", "destinations", multiple=True, metavar="NAME=AET@HOST:PORT", help="Where results go.")
@click.option("--peer", "peers", multiple=True, metavar="AET[@ADDR]", help="Who may send. Without: this machine only.")
@click.option("--settle", type=float, metavar="SECONDS", help="Quiet time after which a series counts as complete.")
def serve(
    config: Path | None,
    data_dir: Path | None,
    engine: str | None,
    destinations: tuple[str, ...],
    peers: tuple[str, ...],
    **flags: str | int | float | None,
) -> None:
    """Receive studies, analyse them, send the results back. Logs JSON lines; ends cleanly on SIGTERM."""
    from dicom_node.app import Node  # the heavy part: not for --help
    from inference.engines.base import EngineError

    overrides = common_overrides(data_dir=data_dir, engine=engine)
    overrides |= serve_overrides(peers=peers, destinations=destinations, **flags)  # type: ignore[arg-type]
    settings = settings_from(config, overrides)
    configure_logging(settings.log.level)
    os.umask(PATIENTS_UMASK)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        node = Node(settings)
        node.start()
    except (NodeError, EngineError) as error:
        raise UsageFailure(str(error)) from error
    stop.wait()
    node.stop()
