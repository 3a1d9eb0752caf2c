"""``dicom-node models evaluate``, ``restate``, ``verify``: how well the models do, and whether their cards are true."""

import hashlib
import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dicom_node.commands.models import card_file, model_named, weights_file
from dicom_node.commands.optional_data import optional_data_option, required_data
from dicom_node.commands.options import (
    UsageFailure,
    config_options,
    settings_from,
)
from dicom_node.settings import EngineSettings
from inference.engines.base import Engine, EngineError, run_canary
from inference.model import Model

if TYPE_CHECKING:
    from inference.training.cases import CaseReader
    from inference.training.evaluation.measurement import Measurement

DIGEST_IN_CARD = re.compile(r"SHA-256:? `([0-9a-f]{64})`")
ON_PHANTOMS = ("pe_detector", "pe_classifier")
"""Models whose figures are of generated patients: no labelled angiograms are to be had."""
DRAWING_MISSING = "drawing needs further packages: run `make train-env`"

cases_option = click.option("--case", "cases", multiple=True, metavar="NAME", help="Only this patient; repeatable.")


@click.command()
@click.argument("name")
@optional_data_option
@cases_option
@click.option("--json", "as_json", is_flag=True, help="For programs: every figure of every patient.")
@click.option("--curve", type=click.Path(path_type=Path, dir_okay=False), help="Draw precision and recall (PNG).")
@config_options
def evaluate(
    name: str,
    data: Path | None,
    cases: tuple[str, ...],
    as_json: bool,
    curve: Path | None,
    config: Path | None,
    data_dir: Path | None,
) -> None:
    """Measure a model on labelled cases: each patient, their mean with its 95 % interval, and all pixels pooled.

    pe_detector and pe_classifier are measured on phantoms that training never saw; with --data DIR, a CT angiogram
    without emboli, also on clots painted into it.
    """
    from inference.training.evaluation.stated import as_json as encode
    from inference.training.evaluation.stated import table

    if curve is not None and importlib.util.find_spec("matplotlib") is None:
        raise UsageFailure(DRAWING_MISSING)
    model, settings = model_named(name), settings_from(config, {}).engine
    if model.spec.name in ON_PHANTOMS:
        figures = _on_phantoms(model, settings, data)
        click.echo(encode(figures) if as_json else "\n".join(table(figures)), nl=not as_json)
        return
    measured = _measured(model, settings, required_data(data, name), cases)
    encoded = encode(measured.figures())
    click.echo(encoded if as_json else _readable(json.loads(encoded)), nl=not as_json)
    if curve is not None:
        _draw(measured, curve)


@click.command()
@click.argument("name")
@optional_data_option
@cases_option
@config_options
def restate(
    name: str,
    data: Path | None,
    cases: tuple[str, ...],
    config: Path | None,
    data_dir: Path | None,
) -> None:
    """For who changes a model: measure it again, and write figures.json and the table of its card.

    Measures the patients that figures.json names, or those of --case.
    """
    from inference.training.evaluation.stated import FIGURES_FILE, as_json, read_figures, with_table

    settings, model = settings_from(config, {}).engine, model_named(name)
    card = card_file(settings.repository, model)
    figures_file = card.with_name(FIGURES_FILE)
    try:
        if model.spec.name in ON_PHANTOMS:
            encoded = as_json(_on_phantoms(model, settings, data))
        else:
            if not cases and figures_file.exists():
                cases = tuple(read_figures(figures_file)["patients"])
            encoded = as_json(_measured(model, settings, required_data(data, name), cases).figures())
        text = with_table(card.read_text(encoding="utf-8"), json.loads(encoded))
    except ValueError as error:
        raise UsageFailure(str(error)) from error
    figures_file.write_text(encoded, encoding="utf-8")
    card.write_text(text, encoding="utf-8")
    click.echo(f"{figures_file} and the table in {card} are new; the card's other words and its digest are yours")


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Measure the figures of the cards again on the patients found here.",
)
@click.option("--engines", metavar="KIND,…", help="Hold these to single precision too: embedded,triton=HOST:PORT")
@click.option(
    "--originals",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="With --engines: the repository in single precision, where the configured one comes from `models export`.",
)
@click.option("--into-manifest", is_flag=True, help="Write what Triton's TensorRT plans answered into their manifests.")
@config_options
def verify(
    data: Path | None,
    engines: str | None,
    originals: Path | None,
    into_manifest: bool,
    config: Path | None,
    data_dir: Path | None,
) -> None:
    """Hold weights, figures and cards against each other and run each model once; exit status 1 where one fails.

    With --data the stated figures are measured again, on those of their patients that are found there. With --engines
    every model is also run on each of them, on a phantom, and its answers compared with those of single precision.
    """
    from dicom_node.app import make_engine
    from dicom_node.commands.engine_parity import compare_engines
    from dicom_node.commands.plan_parity import into_manifests
    from inference.models import EVERY_MODEL

    settings = settings_from(config, {}).engine
    check = _Check(engine=make_engine(settings), repository=settings.repository, data=data)
    failures = 0
    for model in EVERY_MODEL:
        try:
            faults = check.faults(model)
        except (EngineError, ValueError) as error:
            faults = [str(error)]
        failures += bool(faults)
        click.echo(f"{model.spec.name}: {'; '.join(faults) or 'intact, runs'}")
    compared = []
    for found in compare_engines(engines, settings, data=data, originals=originals) if engines else ():
        compared.append(found)
        failures += found.fault
        click.echo(
            f"{found.model} on {found.engine}, {found.of}: {'NOT equal: ' if found.fault else ''}{found.said} "
            f"(against {found.reference})"
        )
    written, left = into_manifests(compared, settings) if into_manifest else ([], [])
    failures += len(left)
    for line in (*written, *left):
        click.echo(line)
    if failures:
        raise click.ClickException("models are damaged, or their cards do not fit them: install them again")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """What ``verify`` asks of every model."""

    engine: Engine
    repository: Path
    data: Path | None

    def faults(self, model: Model) -> list[str]:
        """Empty where nothing is wrong. Raises ``EngineError`` and ``ValueError`` (files that cannot be read)."""
        from inference.training.evaluation.stated import FIGURES_FILE, contradictions, read_figures

        weights, card = weights_file(self.repository, model), card_file(self.repository, model)
        figures_file = card.with_name(FIGURES_FILE)
        missing = [file for file in (weights, card, figures_file) if not file.exists()]
        if missing:
            return [f"{file} is missing" for file in missing]
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        text = card.read_text(encoding="utf-8")
        described = DIGEST_IN_CARD.search(text)
        if described is None or described[1] != digest:
            return [f"the weights ({digest[:16]}) are not the ones that the card describes"]
        run_canary(self.engine, model.spec)
        figures = read_figures(figures_file)
        return contradictions(figures, card=text, digest=digest) or self._deviations(model, figures)

    def _deviations(self, model: Model, stated: dict[str, Any]) -> list[str]:
        """Patients whose figures are others than stated. Tells how many there were to compare."""
        from inference.training.cases import case_names
        from inference.training.evaluation import evaluate as measure
        from inference.training.evaluation.stated import deviations, patients_at_hand

        if self.data is None or model.spec.name in ON_PHANTOMS:
            return []
        patients = patients_at_hand(stated, case_names(self.data, _readers()))
        if not patients:
            return [f"none of the patients of its figures is in {self.data}"]
        click.echo(
            f"{model.spec.name}: measuring {len(patients)} of the {len(stated['patients'])} patients of its figures"
        )
        return deviations(stated, measure(model, self.engine, self.data, patients, readers=_readers()))


def _readers() -> "Sequence[CaseReader]":
    """Of labelled cases in every layout; imported on use, because they bring DICOM and images with them."""
    from dicom_node.commands.labelled_studies import ALL_READERS

    return ALL_READERS


def _measured(model: Model, settings: EngineSettings, data: Path, cases: tuple[str, ...]) -> "Measurement":
    """The figures of ``evaluate`` and ``restate``; wrong input is told in one line."""
    from dicom_node.app import make_engine
    from inference.training.evaluation.evaluate import measure

    graph = weights_file(settings.repository, model)
    try:
        return measure(model, make_engine(settings), data, cases or None, readers=_readers(), graph=graph)
    except ValueError as error:
        raise UsageFailure(str(error)) from error
    except EngineError as error:
        raise click.ClickException(str(error)) from error


def _on_phantoms(model: Model, settings: EngineSettings, data: Path | None) -> dict[str, Any]:
    """The figures of an embolism model, on the angiogram in ``data`` too where there is one."""
    from dicom_node.app import make_engine
    from dicom_node.commands.angiogram_folder import angiogram_in
    from inference.training.evaluation.embolism import measure_embolism_model
    from inference.training.painted_angiograms import RealAngiogram

    engine = make_engine(settings)
    try:
        real = None if data is None else RealAngiogram.of(angiogram_in(data), engine)
        return measure_embolism_model(model, engine, real=real)
    except EngineError as error:
        raise click.ClickException(str(error)) from error
    except ValueError as error:
        raise UsageFailure(str(error)) from error


def _readable(figures: dict[str, Any]) -> str:
    from inference.training.evaluation.stated import table

    pooled = figures["pooled"]
    curve = figures.get("no_curve_because") or "in --json, and drawn by --curve"
    return "\n".join(
        [
            f"{figures['model']} version {figures['version']} ({figures['digest'][:16]}) on {figures['data_set']}",
            *table(figures),
            f"pooled: accuracy {pooled['accuracy']:.4f}, mean IoU of foreground and background {pooled['miou']:.3f}, "
            f"smoothed Jaccard of TV-UNet {pooled['smoothed_jaccard']:.4f} (cannot fall under 0.98)",
            f"precision-recall curve: {curve}",
        ]
    )


def _draw(measured: "Measurement", target: Path) -> None:
    from inference.training.evaluation.precision_recall import draw_curve

    curve = measured.curve()
    if curve is None:
        raise click.ClickException(f"nothing to draw: {measured.no_curve_because or 'the truth is empty'}")
    draw_curve(curve, title=f"{measured.identity.name} on {measured.data_set}", target=target)
