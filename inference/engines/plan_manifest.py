"""What a TensorRT plan was built from, by what and for which GPU; a plan that does not fit the machine is not served.

A plan runs on the GPU and TensorRT version that it was built with; and it may be of another graph than the one beside
it. Its manifest, ``model.plan.json``, says which. Run as a program before Triton starts, this module checks every plan
of a repository: ``python3 -m inference.engines.plan_manifest REPOSITORY``. Standard library only, because that is what
NVIDIA's container has.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

PLAN = "model.plan"
MANIFEST = "model.plan.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Where a plan is built, or is to be served."""

    tensorrt: str
    """Version, four numbers."""
    gpu: str
    """Name and compute capability, e.g. "NVIDIA L4, 8.9"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanManifest:
    """See the module."""

    onnx_sha256: str
    plan_sha256: str
    tensorrt: str
    gpu: str
    rows: tuple[int, int, int]
    """Smallest, usual and largest batch of the optimisation profile."""
    parity: str
    """What ``models verify --engines`` said of the plan; empty: not compared yet."""

    def as_json(self) -> str:
        """The file's text."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_manifest(path: Path) -> PlanManifest:
    """Raises ``ValueError`` where the file is missing or is no manifest."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return PlanManifest(
            **{**{name.name: tree[name.name] for name in fields(PlanManifest)}, "rows": (*tree["rows"],)}
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is missing or is no manifest of a plan ({type(error).__name__})") from error


def misfits(folder: Path, here: Platform) -> list[str]:
    """Why the plan in a version's folder must not be served here; empty where it may."""
    plan, graph = folder / PLAN, folder / "model.onnx"
    try:
        manifest = read_manifest(folder / MANIFEST)
        found = {"plan": _digest(plan), "model.onnx": _digest(graph)}
    except (ValueError, OSError) as error:
        return [str(error)]
    compared = (
        ("the plan", manifest.plan_sha256[:16], found["plan"][:16]),
        ("model.onnx", manifest.onnx_sha256[:16], found["model.onnx"][:16]),
        ("TensorRT", manifest.tensorrt, here.tensorrt),
        ("the GPU", manifest.gpu, here.gpu),
    )
    return [f"{name} was {built}, here it is {now}" for name, built, now in compared if built != now]


def this_platform() -> Platform:
    """TensorRT of NVIDIA's container, which it names in its environment, and the first GPU.

    Raises ``RuntimeError`` where either is not to be found.
    """
    version = os.environ.get("TRT_VERSION", "")
    if not version:
        raise RuntimeError("TRT_VERSION is not set: this is not NVIDIA's container")
    return Platform(tensorrt=version, gpu=first_gpu())


def first_gpu() -> str:
    """Name and compute capability. Raises ``RuntimeError`` where there is none."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - fixed
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError("no GPU: nvidia-smi does not answer") from error
    return listed.splitlines()[0].strip()


def check(repository: Path, here: Platform, say: Callable[[str], object]) -> bool:
    """Whether every version of every model has a plan that may be served here; says what does not."""
    sound = True
    for graph in sorted(repository.glob("*/*/model.onnx")):
        for misfit in misfits(graph.parent, here):
            sound = False
            say(f"{graph.parent.parent.name} {graph.parent.name}: {misfit}")
    if not sound:
        say("plans do not fit: build them on this machine (dicom-node models build-plan NAME)")
    return sound


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    try:
        sys.exit(0 if check(Path(sys.argv[1]), this_platform(), lambda line: sys.stderr.write(f"{line}\n")) else 1)
    except RuntimeError as error:
        sys.exit(str(error))
