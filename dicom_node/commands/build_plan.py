"""``dicom-node models build-plan``: a TensorRT plan for the GPU of this machine, with its manifest."""

import hashlib
import importlib
from pathlib import Path

import click

from dicom_node.commands.models import model_named, weights_file
from dicom_node.commands.options import UsageFailure, config_options, settings_from


@click.command("build-plan")
@click.argument("name")
@config_options
def build_plan(name: str, config: Path | None, data_dir: Path | None) -> None:
    """Build the TensorRT plan of NAME beside its graph; on the GPU, and in the container, that will serve it."""
    from inference.engines.plan_manifest import MANIFEST, PLAN, PlanManifest, first_gpu, four_numbers
    from inference.engines.tensorrt_plan import ROWS, build, parse

    graph = weights_file(settings_from(config, {}).engine.repository, model_named(name))
    try:
        tensorrt = importlib.import_module("tensorrt")
    except ImportError as error:
        raise UsageFailure(
            "TensorRT is not installed here: run this in NVIDIA's container, see deploy/triton/README.md"
        ) from error
    try:
        gpu, encoded = first_gpu(), graph.read_bytes()
        plan = build(tensorrt, *parse(tensorrt, encoded))
    except (RuntimeError, OSError, ValueError) as error:
        raise click.ClickException(f"{name}: {error}") from error
    manifest = PlanManifest(
        onnx_sha256=hashlib.sha256(encoded).hexdigest(),
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        tensorrt=four_numbers(tensorrt.__version__),
        gpu=gpu,
        rows=ROWS,
        parity=None,
    )
    # The manifest last: a plan without one is not served.
    graph.with_name(MANIFEST).unlink(missing_ok=True)
    graph.with_name(PLAN).write_bytes(plan)
    graph.with_name(MANIFEST).write_text(manifest.as_json(), encoding="utf-8")
    click.echo(
        f"{graph.with_name(PLAN)}: for {gpu} with TensorRT {manifest.tensorrt}. Next: serve it on trial, and hold it "
        "against single precision (deploy/triton/README.md)"
    )
