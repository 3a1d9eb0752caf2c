"""Options that several commands share, and how they become settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from dicom_node.errors import SettingsError
from dicom_node.settings import NodeSettings, load_settings, parse_destination, parse_peer

Command = TypeVar("Command", bound=Callable[..., Any])


class UsageFailure(click.ClickException):
    """Wrong input on the command line or in the configuration: exit status 2."""

    exit_code = 2


data_option = click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="One folder a patient, in any layout of docs/training.md.",
)
"""Labelled data."""


def config_options(command: Command) -> Command:
    """``--config`` and ``--data-dir``."""
    command = click.option("--data-dir", type=click.Path(path_type=Path), help="Spool, results and databases.")(command)
    return click.option(
        "--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (TOML); flags override it."
    )(command)


def engine_option(command: Command) -> Command:
    """``--engine``."""
    return click.option(
        "--engine",
        metavar="KIND",
        help="Where models run: embedded (in this process, the default) or triton=HOST:PORT[,HOST:PORT] (gRPC).",
    )(command)


def settings_from(config: Path | None, overrides: dict[str, object]) -> NodeSettings:
    """Settings of the file with ``overrides`` over it; every mistake is told, then exit status 2."""
    try:
        return load_settings(config, overrides)
    except SettingsError as error:
        raise UsageFailure("the configuration has mistakes:\n  " + "\n  ".join(error.mistakes)) from error


def common_overrides(*, data_dir: Path | None = None, engine: str | None = None) -> dict[str, object]:
    """The shared flags as a tree that lies over the file's."""
    overrides: dict[str, object] = {}
    if data_dir is not None:
        overrides["data_dir"] = str(data_dir)
    if engine is not None:
        overrides["engine"] = engine_overrides(engine)
    return overrides


def engine_overrides(text: str) -> dict[str, object]:
    """``embedded``, ``triton`` or ``triton=HOST:PORT[,HOST:PORT]`` as the keys of an engine."""
    kind, _, addresses = text.partition("=")
    if kind not in ("embedded", "triton") or (kind == "embedded" and addresses):
        raise UsageFailure(f"--engine {text}: expected embedded or triton=HOST:PORT[,HOST:PORT]")
    if addresses:
        return {"kind": kind, "triton": {"addresses": addresses.split(",")}}
    return {"kind": kind}


def serve_overrides(
    *,
    ae_title: str | None,
    bind: str | None,
    port: int | None,
    web_port: int | None,
    settle: float | None,
    peers: tuple[str, ...],
    destinations: tuple[str, ...],
) -> dict[str, object]:
    """The flags of ``serve`` as a tree that lies over the file's; lists replace the file's lists."""
    scp: dict[str, object] = {
        key: value for key, value in (("ae_title", ae_title), ("bind", bind), ("port", port)) if value is not None
    }
    if peers:
        scp["peers"] = [parse_peer(peer) for peer in peers]
    overrides: dict[str, object] = {"scp": scp} if scp else {}
    if web_port is not None:
        overrides["web"] = {"port": web_port}
    if settle is not None:
        overrides["completeness"] = {"settle_s": settle}
    if destinations:
        try:
            overrides["destinations"] = [parse_destination(text) for text in destinations]
        except SettingsError as error:
            raise UsageFailure(str(error)) from error
    return overrides
