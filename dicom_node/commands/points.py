"""``dicom-node points``: lungs and lesions of a study as points in space, for ParaView."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click

from dicom_node.commands.options import UsageFailure, config_options, settings_from
from dicom_node.errors import NodeError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="CSV file to write.")
@click.option(
    "--reference",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="DICOM SEG drawn by a person: its lesions are points too.",
)
@config_options
@click.pass_context
def points(
    context: click.Context, folder: Path, out: Path, reference: Path | None, config: Path | None, data_dir: Path | None
) -> None:
    """Analyse the study in FOLDER and write lungs and lesions as points: x, y, z (LPS, mm), Hounsfield units, region.

    In ParaView: open the CSV, apply Table To Points, colour by hu or region.
    """
    from dicom_node.app import make_analyst
    from dicom_node.results.points import write_points
    from dicom_node.spool.folder import studies_in
    from dicom_node.volumes import SeriesVolume
    from dicom_node.volumes.reference_masks import read_reference_segmentation
    from inference.engines.base import EngineError

    scratch = context.with_resource(tempfile.TemporaryDirectory(prefix="dicom-node-"))
    studies = studies_in(folder, scratch=Path(scratch)).studies
    if len(studies) != 1:
        raise UsageFailure(f"{folder} holds {len(studies)} studies: give the folder of one")
    ((study_uid, series),) = studies.items()
    try:
        analyst = make_analyst(settings_from(config, {}))
        request = analyst.analyse(study_uid=study_uid, series=series, created_at=datetime.now(UTC))
    except (NodeError, EngineError) as error:
        raise click.ClickException(f"study {study_uid}: {error}") from error
    if request.volume is None:
        raise click.ClickException(f"study {study_uid} was not analysed: {request.findings.reason}")
    regions = {mask.region.value: mask.array_zyx for mask in request.findings.masks}
    if reference is not None:
        try:
            grid = SeriesVolume(volume=request.volume, sources=request.sources)
            regions["reference_lesion"] = read_reference_segmentation(reference).masks_on(grid).lesions
        except ValueError as error:
            raise UsageFailure(str(error)) from error
    for region, count in write_points(request.volume, regions, out).items():
        click.echo(f"{region}: {count} points")
