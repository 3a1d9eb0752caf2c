"""``dicom-node studies | study | retry``: what an operator asks about studies."""

import json
from collections.abc import Mapping
from pathlib import Path

import click

from dicom_node.commands.options import UsageFailure, common_overrides, config_options, settings_from
from dicom_node.errors import NodeError


@click.command()
@config_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def studies(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List the studies, newest arrivals first."""
    from dicom_node.app import open_overview

    try:
        found = open_overview(settings_from(config, common_overrides(data_dir=data_dir))).studies()
    except NodeError as error:
        raise UsageFailure(str(error)) from error
    if as_json:
        lines = [
            {"study_uid": one.study_uid, "state": one.state, "outcome": one.outcome, "reason": one.reason,
             "generation": one.generation, "instances": one.instances,
             "first_received_at": one.first_received_at.isoformat(),
             "last_received_at": one.last_received_at.isoformat()}
            for one in found
        ]  # fmt: skip
        click.echo(json.dumps(lines, indent=2))
        return
    for one in found:
        when = one.last_received_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        click.echo(
            f"{when}  {one.state:<11} {one.outcome or '-':<13} {one.instances:>5} instances  {one.study_uid}"
            + (f"  {one.reason}" if one.reason else "")
        )


@click.command()
@click.argument("study_uid")
@config_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def study(study_uid: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show one study: its history, and why what was or was not done."""
    from dicom_node.app import open_overview

    try:
        found = open_overview(settings_from(config, common_overrides(data_dir=data_dir))).study(study_uid)
    except NodeError as error:
        raise UsageFailure(str(error)) from error
    if found is None:
        raise click.ClickException(f"the node has never received an instance of study {study_uid}")
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(_story(found)))


@click.command()
@click.argument("study_uid")
@config_options
def retry(study_uid: str, config: Path | None, data_dir: Path | None) -> None:
    """Try again what did not end well: undelivered results, or else the whole analysis."""
    from dicom_node.app import retry as retry_study

    try:
        click.echo(retry_study(settings_from(config, common_overrides(data_dir=data_dir)), study_uid))
    except NodeError as error:
        raise UsageFailure(str(error)) from error


def _story(found: Mapping[str, object]) -> list[str]:
    from dicom_node.results import outcome_of

    lines = [
        f"study {found['study_uid']}",
        f"state {found['state']}" + (f": {found['reason']}" * bool(found["reason"])),
    ]
    findings = found["findings"]
    if isinstance(findings, dict):
        lines.append(f"outcome {outcome_of(findings)}" + (f": {findings['reason']}" if findings["reason"] else ""))
    why = {str(one["series_uid"]): str(one["reason"]) for one in _rows(found, "decisions")}
    lines.append("series")
    for one in _rows(found, "series"):
        reason = why.get(str(one["series_uid"]), "")
        lines.append(
            f"  {one['series_number'] or '-'}  {one['modality']}  {one['instances']} instances"
            f"  {one['series_description']}  {reason}"
        )
    lines.append("deliveries")
    for one in _rows(found, "deliveries"):
        by = f" by {one['in_its_place']}" if one["in_its_place"] else ""
        error = f": {one['last_error']}" if one["last_error"] else ""
        state = f"{one['state']}{by}, {one['tries']} tries{error}"
        lines.append(f"  {one['destination']}  {one['kind']}  {state}  {one['sop_instance_uid']}")
    lines.append("history")
    lines += [f"  {one['at']}  {one['event']}  {one['detail']}" for one in _rows(found, "history")]
    return lines


def _rows(found: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    rows = found[key]
    return rows if isinstance(rows, list) else []
