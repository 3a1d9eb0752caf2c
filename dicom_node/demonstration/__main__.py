"""``make demo``: the whole way of one generated study, with a real node process and a built-in archive.

Study → C-STORE → node (its own process) → C-STORE → archive; then the segmentation (of a generated angiogram: the boxes
of the measurement report) that the archive got is read back and compared with the phantom's truth. Ends by itself; exit
status 0 only when every check holds.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from dicom_node.delivery import Address, send_folder
from dicom_node.demonstration.archive import Archive
from dicom_node.demonstration.box_agreement import OVERLAP, boxes_against_truth
from dicom_node.demonstration.node_process import NodeProcess
from dicom_node.demonstration.overlap import dice_against_truth
from dicom_node.demonstration.phantom_study import write_phantom_study
from dicom_node.demonstration.pipeline_rules import rules_for
from dicom_node.demonstration.triton_server import TritonServer
from dicom_node.errors import PeerUnavailable
from dicom_node.logs import configure_logging
from dicom_node.records import ResultKind

NODE_AE = "DICOMNODE"
ARCHIVE_AE = "ARCHIVE"
SETTLE_S = 2.0
TIMEOUT_S = 600.0
"""Generous: a laptop without AVX-512 takes ten times as long as a server."""
MINIMUM_DICE = {"lungs": 0.93, "infected region": 0.70}
"""What the demonstration promises; the models' cards say what they reach on real data."""
MINIMUM_AP = 0.3
"""Of the boxes of one study; those of a set of slices that the detector's card measures are pooled, and better."""
DEMO_SEED = 2026


@click.command()
@click.option("--kind", type=click.Choice(["ct", "ctpa"]), default="ct")
@click.option("--engine", type=click.Choice(["embedded", "triton"]), default="embedded")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("demo-out"))
@click.option("--slices", default=100, show_default=True)
@click.option("--size", "size_px", default=512, show_default=True)
def demonstrate(kind: str, engine: str, out: Path, slices: int, size_px: int) -> None:
    """Send a generated chest CT, or CT pulmonary angiogram, through a node and show what comes back."""
    configure_logging("warning")
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    click.echo(f"1 generate   {DESCRIPTIONS[kind]} (synthetic, no patient)")
    with Stopwatch() as generated:
        study = write_phantom_study(
            out / "study", kind=kind, slices=slices, size_px=size_px, seed=DEMO_SEED, truth_folder=out / "truth"
        )
    with (
        Archive(out / "archive", ae_title=ARCHIVE_AE) as archive,
        _engine(engine, out) as engine_flags,
        _node(out, archive.port, [*engine_flags, *rules_for(kind, out)]) as node,
    ):
        click.echo(f"2 send       {slices} instances by C-STORE to {NODE_AE} on port {node.dicom_port}")
        with Stopwatch() as sent:
            outcomes = send_folder(study.folder, Address(NODE_AE, "127.0.0.1", node.dicom_port))
        refused = [outcome for outcome in outcomes if not outcome.accepted]
        if refused:
            raise click.ClickException(f"the node refused {len(refused)} instances: {refused[0].message}")
        click.echo(f"3 analyse    (the study counts as complete after {SETTLE_S:.0f} s of quiet)")
        with Stopwatch() as waited:
            overview = node.wait_until_settled(study.study_uid, timeout_s=TIMEOUT_S)
            if overview["state"] == "failed":
                raise click.ClickException(f"the node gave the study up: {overview['reason']}")
        received = archive.received()
    findings = overview["findings"]
    paths = {found.facts.sop_instance_uid: found.file.path for found in received}
    by_kind = {one["kind"]: paths[one["sop_instance_uid"]] for one in overview["results"]}
    rows, missed = CHECKS[kind](findings, by_kind, study.truth)
    rows += [("model", f"{one['name']} {one['version']} ({one['digest'][:12]})") for one in findings["models"]]
    _report(out, [("outcome", findings["status"]), *rows], [found.file.path for found in received])
    _report_times(findings["timings_s"], generated.seconds, sent.seconds, waited.seconds)
    if missed:
        raise click.ClickException(f"below its promise: {', '.join(missed)}")


class Stopwatch:
    """Wall seconds of a ``with`` block."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> "Stopwatch":
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started


@contextmanager
def _engine(kind: str, out: Path) -> Iterator[list[str]]:
    """Flags that give the node its engine; a Triton server runs for as long as the block."""
    if kind == "embedded":
        yield []
        return
    try:
        with TritonServer(out / "triton") as server:
            click.echo(f"           models are served by Triton on {server.address}")
            yield ["--engine", f"triton={server.address}"]
    except PeerUnavailable as unavailable:
        raise click.ClickException(str(unavailable)) from unavailable


def _node(out: Path, archive_port: int, engine_flags: list[str]) -> NodeProcess:
    destination = f"archive={ARCHIVE_AE}@127.0.0.1:{archive_port}"
    flags = ["--ae-title", NODE_AE, "--settle", str(SETTLE_S), "--destination", destination, *engine_flags]
    return NodeProcess(out / "node", flags)


Rows = list[tuple[str, str]]


def _check_lesions(findings: dict[str, Any], received: dict[str, Path], truth: Path) -> tuple[Rows, list[str]]:
    """Lines about lungs and lesions, and what of them is worse than promised."""
    severity, lesions = findings["severity"], findings["lesions"]
    dice = dice_against_truth(received[ResultKind.SEGMENTATION.value], truth)
    rows = [
        ("estimated involvement", f"{severity['total_percent']:.0f} % of lung volume "
         f"(right {severity['right_percent']:.0f}, left {severity['left_percent']:.0f})"),
        ("six-zone CT score", f"{severity['six_zone']['score']} of 24"),
        ("lesions", f"{len(lesions['components'])}, together {lesions['volume_ml']:.0f} ml"),
        *((f"Dice {name}", f"{value:.3f} against the phantom's truth") for name, value in dice.items()),
    ]  # fmt: skip
    return rows, [f"Dice {name}" for name, minimum in MINIMUM_DICE.items() if not dice[name] >= minimum]


def _check_emboli(findings: dict[str, Any], received: dict[str, Path], truth: Path) -> tuple[Rows, list[str]]:
    """Lines about emboli, and what of them is worse than promised."""
    embolism = findings["embolism"]
    agreement = boxes_against_truth(received.get(ResultKind.MEASUREMENTS.value), truth.with_name("boxes.json"))
    precision = agreement.average_precision or 0.0
    rows = [
        ("pulmonary embolism", f"probability {embolism['probability']:.2f} (a score, not calibrated)"),
        ("emboli", f"{len(embolism['emboli'])} in {agreement.found} boxes of the measurement report"),
        ("boxes", f"{agreement.hits} hit one of the {agreement.true} true ones at an overlap of {OVERLAP}"),
        (f"AP at {OVERLAP}", f"{precision:.3f} against the phantom's truth, of this one study"),
    ]
    return rows, [] if precision >= MINIMUM_AP else ["AP"]


DESCRIPTIONS = {
    "ct": "a chest CT phantom with lesions",
    "ctpa": "a CT pulmonary angiogram phantom with emboli",
}
CHECKS = {"ct": _check_lesions, "ctpa": _check_emboli}


def _report(out: Path, rows: Rows, received: list[Path]) -> None:
    click.echo("\nWhat the archive received. Research use only; not a medical device.\n")
    for name, value in rows:
        click.echo(f"  {name:<24}{value}")
    click.echo("")
    for path in sorted(received):
        click.echo(f"  {path}")
    click.echo(f"  {_save_picture(received, out / 'summary.png')}   (the picture, to look at)")
    click.echo(f"  {out / 'node.log'}")


def _save_picture(received: list[Path], target: Path) -> Path:
    import pydicom
    from PIL import Image

    for path in received:
        dataset = pydicom.dcmread(path)
        if dataset.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage:
            Image.fromarray(np.asarray(dataset.pixel_array)).save(target)
    return target


def _report_times(stages: dict[str, float], generated_s: float, sent_s: float, waited_s: float) -> None:
    click.echo("\n  seconds: " + ", ".join(
        f"{name} {seconds:.1f}"
        for name, seconds in {"generate": generated_s, "send": sent_s, **stages, "wait in all": waited_s}.items()
    ))  # fmt: skip


if __name__ == "__main__":
    demonstrate()
