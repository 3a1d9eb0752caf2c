"""``dicom-node extract``: what the spool holds of a study, as files that other programs read."""

from pathlib import Path

import click

from dicom_node.commands.options import UsageFailure, common_overrides, config_options, settings_from
from dicom_node.errors import NodeError


@click.command()
@click.argument("study_uid")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@config_options
def extract(study_uid: str, folder: Path, config: Path | None, data_dir: Path | None) -> None:
    """Write the received instances of STUDY_UID into FOLDER; exit status 1 where one is damaged or none is known.

    They hold the patient's data exactly as received. Files of the same name in FOLDER are replaced.
    """
    from dicom_node.app import extract_study

    settings = settings_from(config, common_overrides(data_dir=data_dir))
    written = damaged = 0
    try:
        for outcome in extract_study(settings, study_uid, folder):
            if outcome.refusal:
                damaged += 1
                click.echo(f"{outcome.path.stem}: {outcome.refusal}", err=True)
            else:
                written += 1
    except NodeError as error:
        raise UsageFailure(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{written} files were written, then: {error.strerror}: {error.filename}") from error
    if not written and not damaged:
        raise click.ClickException(f"the node has never received an instance of study {study_uid}")
    click.echo(f"{written} files written to {folder}")
    if damaged:
        raise click.ClickException(f"{damaged} instances are damaged; their sender has to bring them again")
