"""``dicom-node infer``: a folder of DICOM files in, DICOM results and findings.json out. No network."""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click

from dicom_node.commands.options import UsageFailure, common_overrides, config_options, engine_option, settings_from
from dicom_node.errors import NodeError

EXIT_NOT_ANALYSED = 3


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Where results go.")
@click.option("--pipeline", help="Only this pipeline (default: the routing rules decide).")
@config_options
@engine_option
@click.pass_context
def infer(
    context: click.Context,
    folder: Path,
    out: Path,
    pipeline: str | None,
    config: Path | None,
    data_dir: Path | None,
    engine: str | None,
) -> None:
    """Analyse the studies in FOLDER; results and findings.json go to --out.

    Exit status 0: results were written (also "negative"); 3: not analysed (the coded result says why); 2: usage;
    1: failure. Several studies in FOLDER get a folder each in --out.
    """
    from dicom_node.app import make_analyst
    from dicom_node.results import findings_document, write_results
    from dicom_node.spool.folder import studies_in
    from inference.engines.base import EngineError
    from inference.findings import Status

    settings = settings_from(config, common_overrides(data_dir=data_dir, engine=engine))
    scratch = context.with_resource(tempfile.TemporaryDirectory(prefix="dicom-node-"))
    found = studies_in(folder, scratch=Path(scratch))
    for skipped in found.skipped:
        click.echo(f"left out: {skipped}", err=True)
    if not found.studies:
        raise UsageFailure(f"no DICOM instance in {folder}")
    try:
        analyst = make_analyst(settings, pipeline=pipeline)
    except (NodeError, EngineError) as error:
        raise UsageFailure(str(error)) from error
    context.with_resource(analyst.decoders)
    analysed = 0
    for study_uid, series in found.studies.items():
        target = out if len(found.studies) == 1 else out / study_uid
        target.mkdir(parents=True, exist_ok=True)
        try:
            request = analyst.analyse(study_uid=study_uid, series=series, created_at=datetime.now(UTC))
        except (NodeError, EngineError) as error:
            raise click.ClickException(f"study {study_uid}: {error}") from error
        write_results(request, target)
        document = findings_document(request)
        (target / "findings.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        analysed += request.findings.status is not Status.NOT_ANALYSED
        click.echo(f"{study_uid}: {headline(document)}")
    if not analysed:
        raise SystemExit(EXIT_NOT_ANALYSED)


def headline(document: dict[str, object]) -> str:
    """A study in one line."""
    from dicom_node.results import outcome_of

    status = outcome_of(document)
    severity, embolism = document.get("severity"), document.get("embolism")
    if document["reason"]:
        return f"{status}: {document['reason']}"
    if isinstance(embolism, dict):
        return f"{status}: {len(embolism['emboli'])} pulmonary emboli marked, by models that never saw a real embolus"
    if isinstance(severity, dict) and severity.get("total_percent") is not None:
        return f"{status}: estimated involvement {severity['total_percent']:.0f} % of lung volume"
    return status
