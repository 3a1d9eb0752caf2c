"""How much the node adds to what cannot be avoided.

Numerator: from the last C-STORE response to the last result stored at the archive, settle time excluded, with a
real node process. Denominator: decoding the same files and running the same models on them, in a process that does
nothing else. Both are measured in turns, so that a busy machine slows both.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import click

from benchmarks.result import Result
from dicom_node.delivery import Address, send_folder
from dicom_node.demonstration.archive import Archive
from dicom_node.demonstration.node_process import NodeProcess
from dicom_node.demonstration.phantom_study import PhantomStudy, write_phantom_study

GOAL = 1.5
SETTLE_S = 2.0
SIZE_PX = 512
TIMEOUT_S = 600.0

PURE = """
import json, sys, time
from pathlib import Path
from dicom_node.settings import EngineSettings
from dicom_node.app import make_engine
from dicom_node.spool.folder import studies_in
from dicom_node.volumes import build_volume
from inference.models import InfectionUnet, LungsUnet
from inference.models.slice_preparation import INPUT, LUNGS, OUTPUT
engine = make_engine(EngineSettings())
lungs, infection = LungsUnet(), InfectionUnet()
for model in (lungs, infection):
    engine.identity(model.spec)
((series,),) = studies_in(Path(sys.argv[1]), scratch=Path(sys.argv[1])).studies.values()
started = time.perf_counter()
volume = build_volume(series).volume
decoded = time.perf_counter()
inputs = lungs.prepare(volume)
prepared = time.perf_counter()
found = engine.run(lungs.spec, inputs)[OUTPUT.name]
with_lung = found.any(axis=(1, 2))  # the node shows the second model these slices, too
engine.run(infection.spec, {INPUT.name: inputs[INPUT.name][with_lung], LUNGS.name: found[with_lung]})
ended = time.perf_counter()
print(json.dumps({"decode": decoded - started, "engine": ended - prepared}))
"""


def measure(*, repeats: int, slices: int) -> Result:
    """Median of the ratios of ``repeats`` pairs of runs."""
    pure: list[float] = []
    whole: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(repeats):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            study = _study(folder, slices=slices, seed=number)
            pure.append(_pure_s(study.folder))
            whole.append(_whole_s(folder, study.folder, study.study_uid))
            click.echo(f"  run {number + 1}: decode + engine {pure[-1]:.2f} s, node {whole[-1]:.2f} s")
    ratio = statistics.median(node / bare for node, bare in zip(whole, pure, strict=True))
    detail = (
        f"{slices} slices of {SIZE_PX}²: node {statistics.median(whole):.2f} s, "
        f"decode + engine alone {statistics.median(pure):.2f} s"
    )
    return Result(
        name="last C-STORE response to results stored / decode + engine", ratio=ratio, goal=GOAL, detail=detail
    )


def _study(folder: Path, *, slices: int, seed: int) -> PhantomStudy:
    return write_phantom_study(
        folder / "study", kind="ct", slices=slices, size_px=SIZE_PX, seed=seed, truth_folder=folder / "truth"
    )


def _warm_up(scratch: Path, node: NodeProcess) -> None:
    """A small study first: tables that libraries read on first use are not what a study of a running node waits for."""
    small = write_phantom_study(
        scratch / "small", kind="ct", slices=48, size_px=128, seed=0, truth_folder=scratch / "small-truth"
    )
    send_folder(small.folder, Address("DICOMNODE", "127.0.0.1", node.dicom_port))
    node.wait_until_settled(small.study_uid, timeout_s=TIMEOUT_S)


def _pure_s(folder: Path) -> float:
    output = subprocess.run([sys.executable, "-c", PURE, str(folder)], check=True, capture_output=True, text=True)
    times = json.loads(output.stdout.splitlines()[-1])
    return float(times["decode"] + times["engine"])


def _whole_s(scratch: Path, folder: Path, study_uid: str) -> float:
    with Archive(scratch / "archive", ae_title="ARCHIVE") as archive:
        destination = f"archive=ARCHIVE@127.0.0.1:{archive.port}"
        with NodeProcess(scratch / "node", ["--settle", str(SETTLE_S), "--destination", destination]) as node:
            # A node that has just started still loads its models: that is not what a study waits for.
            node.wait_for("/health/ready", lambda health: health["status"] == "ok", timeout_s=TIMEOUT_S)
            _warm_up(scratch, node)
            outcomes = send_folder(folder, Address("DICOMNODE", "127.0.0.1", node.dicom_port))
            assert all(outcome.accepted for outcome in outcomes)
            last_response = time.time()
            study = node.wait_until_settled(study_uid, timeout_s=TIMEOUT_S)
    stored = max(datetime.fromisoformat(one["delivered_at"]).timestamp() for one in study["deliveries"])
    return stored - last_response - SETTLE_S
