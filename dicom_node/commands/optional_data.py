"""``--data`` of commands on models that may not need it: the embolism models make their own phantoms."""

from pathlib import Path

import click

from dicom_node.commands.options import UsageFailure

optional_data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="One folder a patient, in any layout of docs/training.md. Models of emboli: DICOM of one CT angiogram.",
)
"""Labelled data, for commands on models that may not need it."""


def required_data(data: Path | None, name: str) -> Path:
    """The folder of labelled data. Raises ``UsageFailure`` where none was given."""
    if data is None:
        raise UsageFailure(f"{name} needs labelled data: --data DIR (see docs/training.md)")
    return data
