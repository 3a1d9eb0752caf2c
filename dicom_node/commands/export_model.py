"""``dicom-node models export``: a model's network as a new graph, in another precision or from a training."""

import hashlib
import importlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from dicom_node.commands.engine_parity import EXPORT_FACTS, float32_reference, gate_inputs
from dicom_node.commands.models import model_named, weights_file
from dicom_node.commands.options import UsageFailure, config_options, settings_from
from dicom_node.commands.parity_inputs import CALIBRATION_SEED, ParityInputs, Run, phantom_inputs
from dicom_node.commands.training import TRAINING_MISSING
from inference.engines import output_parity
from inference.model import ModelSpec, Tensors


@click.command()
@click.argument("name")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="A new model repository.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32", show_default=True)
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Weights of a training (best.pt), repeated for a model of several networks. Default: those in the graph.",
)
@click.option("--threshold", type=click.FloatRange(0, 1), help="Of a U-Net's checkpoint, from its export.json.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Compare on slices of the labelled patients here too.",
)
@config_options
def export(  # noqa: PLR0913  # an argument a flag
    name: str,
    out: Path,
    precision: str,
    checkpoints: tuple[Path, ...],
    threshold: float | None,
    data: Path | None,
    config: Path | None,
    data_dir: Path | None,
) -> None:
    """Export NAME from torch to ONNX, as a folder that Triton serves, where its answers stay the same.

    The graph is kept only if it passes the limits of `models verify --engines` against the network in float32, and if
    TensorRT-RTX, where it is installed, builds it; otherwise nothing is written and the limit is told (exit status 1).
    """
    exports = _exports()
    repository, spec = settings_from(config, {}).engine.repository, model_named(name).spec
    graph = weights_file(repository, model_named(name))
    target = out / spec.name / spec.version / graph.name
    if target.exists():
        raise UsageFailure(f"{target} is there already: give another --out")
    try:
        network = exports.trained(spec, checkpoints, threshold=threshold) if checkpoints else None
        served = network or exports.rebuilt(spec, graph.read_bytes())
    except (ValueError, OSError) as error:
        raise UsageFailure(str(error)) from error
    reference, _ = float32_reference(repository)
    compared = [one for one in gate_inputs(reference, data) if one.spec == spec]
    expected = [exports.run_served(served, spec, one.inputs) for one in compared]
    others = phantom_inputs(reference, seed=CALIBRATION_SEED) if precision == "int8" else []
    calibration = [one.inputs for one in others if one.spec == spec]
    try:
        model = exports.as_graph(served, spec, exports.Precision(precision), calibration=calibration)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    runs: dict[str, Run] = {"": partial(exports.run_graph, model)}
    if precision == "fp16":
        runs[", rounded between layers"] = partial(exports.run_served, served)
    parity = [f"{said}{how}" for how, run in runs.items() for said in _gate(run, spec, precision, compared, expected)]
    encoded: bytes = model.SerializeToString()
    facts = {
        "model": spec.name,
        "version": spec.version,
        "precision": precision,
        **exports.provenance(checkpoints or (graph,), threshold=threshold),
        "parity": parity,
        "tensorrt_rtx": _built_by_tensorrt_rtx(name, encoded),
    }
    _write(spec, target, encoded, facts)
    click.echo(f"{target}: {precision}, opset {facts['opset']}; {'; '.join(parity)}")


def _exports() -> Any:
    """What exports, imported when it is used. Raises ``UsageFailure`` where its packages are not installed."""
    try:
        from inference.training import served_export
    except ModuleNotFoundError as error:
        raise UsageFailure(f"{TRAINING_MISSING} ({error.name} is missing)") from error
    return served_export


def _gate(
    run: Run, spec: ModelSpec, precision: str, compared: list[ParityInputs], expected: list[Tensors]
) -> list[str]:
    """How far what ``run`` says agrees with ``expected``. Raises ``ClickException`` where that is not enough."""
    said = []
    for given, wanted in zip(compared, expected, strict=True):
        masks = replace(given.masks, dice=output_parity.SMALLEST_DICE_OF_INTEGERS)
        parity = output_parity.outputs_agree(
            spec, wanted, run(spec, given.inputs), masks=masks if precision == "int8" else given.masks
        )
        if not parity.holds:
            raise click.ClickException(
                f"{spec.name} in {precision} is another model than in float32, on {given.of}: {parity.said}. Nothing "
                "was written"
            )
        said.append(f"on {given.of}: {parity.said}")
    return said


def _built_by_tensorrt_rtx(name: str, encoded: bytes) -> str | None:
    """The version that took the graph; ``None`` where it is not installed. Raises ``ClickException``."""
    from inference.engines.tensorrt_plan import build, parse

    try:
        rtx = importlib.import_module("tensorrt_rtx")
    except ImportError:
        return None
    try:
        build(rtx, *parse(rtx, encoded), capability=rtx.ComputeCapability.SM80)
    except ValueError as error:
        raise click.ClickException(f"{name}: {error}. Nothing was written") from error
    return str(rtx.__version__)


def _write(spec: ModelSpec, target: Path, encoded: bytes, facts: dict[str, Any]) -> None:
    from inference.engines.triton_config import write_bundle

    folder = target.parent.parent
    write_bundle(spec, folder, sha256=hashlib.sha256(encoded).hexdigest())
    (folder / EXPORT_FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    target.write_bytes(encoded)
