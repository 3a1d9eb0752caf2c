"""What a Triton server costs beside the engine inside the process: whole studies, same cores, one run.

Both ways decode and analyse the same generated study through ``Analyst``, in this process, in turns; the server is a
real one on this machine, with the same models on the same engine. One study alone, then four at once. The share of
transport is what a request takes beyond the server's own queue and compute times, which Triton counts.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.result import Result
from dicom_node.demonstration.phantom_study import write_phantom_study
from dicom_node.demonstration.triton_server import TritonServer

GOAL = 1.15
AT_ONCE = (1, 4)
SIZE_PX = 512

STUDIES = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from dicom_node.app import make_analyst
from dicom_node.commands.options import engine_overrides
from dicom_node.settings import load_settings
from dicom_node.spool.folder import studies_in
from inference.engines.base import run_canary
from inference.models import MODELS
folder, engine, at_once = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
analyst = make_analyst(load_settings(None, {"engine": engine_overrides(engine)}))
for model in MODELS:
    run_canary(analyst.engine, model.spec)
((uid, series),) = studies_in(folder, scratch=folder).studies.items()
def analyse(_):
    return analyst.analyse(study_uid=uid, series=series, created_at=datetime(2026, 1, 1, tzinfo=UTC))
started = time.perf_counter()
with ThreadPoolExecutor(at_once) as pool:
    found = list(pool.map(analyse, range(at_once)))
seconds = time.perf_counter() - started
assert all(one.findings.status.value == "positive" for one in found), found[0].findings.reason
print(json.dumps(seconds))
"""
TRANSPORT = """
import json, sys, time
from pathlib import Path
import tritonclient.grpc as triton_grpc
from inference.engines.base import empty_rows
from inference.engines.triton_config import USUAL_BATCH
from inference.engines.triton import TritonEngine
from inference.models import LungsUnet
address, repository = sys.argv[1], Path(sys.argv[2])
spec, client = LungsUnet().spec, triton_grpc.InferenceServerClient(address)
engine = TritonEngine(repository=repository, addresses=[address])
inputs = empty_rows(spec, USUAL_BATCH)
def served_s():
    counted = client.get_inference_statistics(spec.name).model_stats[0].inference_stats
    return (counted.queue.ns + counted.compute_infer.ns) / 1e9
engine.run(spec, inputs)
before, started = served_s(), time.perf_counter()
for _ in range(10):  # one request at a time, so that waiting for another is not counted as transport
    engine.run(spec, inputs)
whole = time.perf_counter() - started
print(json.dumps(1 - (served_s() - before) / whole))
"""


def measure(*, repeats: int, slices: int) -> tuple[Result, ...]:
    """For one study and for four at once, the median of the ratios of ``repeats`` pairs of runs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        study = write_phantom_study(
            folder / "study", kind="ct", slices=slices, size_px=SIZE_PX, seed=1, truth_folder=folder / "truth"
        ).folder
        with TritonServer(folder / "triton") as server:
            served = f"triton={server.address}"
            results = [_compared(study, served, at_once, repeats=repeats, slices=slices) for at_once in AT_ONCE]
            share = _run(TRANSPORT, server.address, "triton_models")
    transport = Result(
        name="time of a request that is not the server's queue or compute / the request",
        ratio=share,
        goal=0.05,
        detail="16 slices of lungs_unet, one request at a time",
    )
    return (*results, transport)


def _compared(study: Path, served: str, at_once: int, *, repeats: int, slices: int) -> Result:
    ours, theirs = [], []
    for number in range(repeats):
        theirs.append(_run(STUDIES, str(study), "embedded", str(at_once)))
        ours.append(_run(STUDIES, str(study), served, str(at_once)))
        click.echo(f"  run {number + 1}, {at_once} at once: Triton {ours[-1]:.2f} s, embedded {theirs[-1]:.2f} s")
    return Result(
        name=f"{at_once} whole {'study' if at_once == 1 else 'studies'} with Triton / with the embedded engine",
        ratio=statistics.median(one / other for one, other in zip(ours, theirs, strict=True)),
        goal=GOAL,
        detail=f"{slices} slices of {SIZE_PX}²: Triton {statistics.median(ours):.2f} s, embedded "
        f"{statistics.median(theirs):.2f} s",
    )


def _run(program: str, *arguments: str) -> float:
    output = subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True)
    return float(json.loads(output.stdout.splitlines()[-1]))
