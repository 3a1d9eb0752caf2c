"""What a TensorRT plan was built from, by what and for which GPU; a plan that does not fit the machine is not served.

A plan runs on the GPU and TensorRT version that it was built with; and it may be of another graph than the one beside
it. Its manifest, ``model.plan.json``, says which, and how far its answers were those of single precision. Run as a
program before Triton starts, this module checks every plan of a repository: ``python3 -m
inference.engines.plan_manifest REPOSITORY``; with ``--trial`` a plan passes whose answers nobody has compared yet, so
that they can be. Standard library only, because that is what NVIDIA's container has.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

PLAN = "model.plan"
MANIFEST = "model.plan.json"
CONFIGURATION = "config.pbtxt"
TRIAL = "--trial"
NEVER_COMPARED = "the plan was never held against single precision (models verify --into-manifest)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Where a plan is built, or is to be served."""

    tensorrt: str
    """Version, four numbers."""
    gpu: str
    """Name and compute capability, e.g. "NVIDIA L4, 8.9"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanParity:
    """What ``models verify --engines`` said of a plan."""

    reference: str
    """What it was compared with, e.g. "torch float32"."""
    said: str
    """How far it agreed, and with which limits."""
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanManifest:
    """See the module."""

    onnx_sha256: str
    plan_sha256: str
    tensorrt: str
    gpu: str
    rows: tuple[int, int, int]
    """Smallest, usual and largest batch of the optimisation profile."""
    parity: PlanParity | None
    """``None``: not compared yet."""

    def as_json(self) -> str:
        """The file's text."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_manifest(path: Path) -> PlanManifest:
    """Raises ``ValueError`` where the file is missing or is no manifest."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        given = {one.name: tree[one.name] for one in fields(PlanManifest)}
        parity = None if given["parity"] is None else PlanParity(**given["parity"])
        return PlanManifest(**{**given, "rows": (*given["rows"],), "parity": parity})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is missing or is no manifest of a plan ({type(error).__name__})") from error


def misfits(folder: Path, here: Platform, *, trial: bool = False) -> list[str]:
    """Why the plan in a version's folder must not be served here; empty where it may.

    ``trial``: its answers need not have been compared yet.
    """
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
    wrong = [f"{name} was {built}, here it is {now}" for name, built, now in compared if built != now]
    if (wanted := _largest_batch(folder.parent / CONFIGURATION)) > manifest.rows[2]:
        wrong.append(f"the plan takes {manifest.rows[2]} pictures at once, {CONFIGURATION} promises {wanted}")
    if manifest.parity is None:
        return wrong if trial else [*wrong, NEVER_COMPARED]
    return wrong if manifest.parity.holds else [*wrong, f"the plan answers otherwise: {manifest.parity.said}"]


def _largest_batch(configuration: Path) -> int:
    """What Triton will hand over at once; 0 where it is not said."""
    try:
        said = re.search(r"^max_batch_size: (\d+)", configuration.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return 0
    return int(said[1]) if said else 0


def state_parity(folder: Path, parity: PlanParity) -> None:
    """Write into the manifest in a version's folder how its plan compares.

    Raises ``ValueError`` where there is no manifest, or it is of another plan or graph than the ones beside it.
    """
    file = folder / MANIFEST
    manifest = read_manifest(file)
    try:
        found = _digest(folder / PLAN), _digest(folder / "model.onnx")
    except OSError as error:
        raise ValueError(f"{folder} lacks its plan or its graph ({error.strerror})") from error
    if found != (manifest.plan_sha256, manifest.onnx_sha256):
        raise ValueError(f"{file} is of another plan or graph than the ones beside it: build the plan again")
    file.write_text(replace(manifest, parity=parity).as_json(), encoding="utf-8")


def this_platform() -> Platform:
    """TensorRT of NVIDIA's container, which it names in its environment, and the first GPU.

    Raises ``RuntimeError`` where either is not to be found.
    """
    version = os.environ.get("TRT_VERSION", "")
    if not version:
        raise RuntimeError("TRT_VERSION is not set: this is not NVIDIA's container")
    return Platform(tensorrt=four_numbers(version), gpu=first_gpu())


def four_numbers(version: str) -> str:
    """TensorRT's version alone: wheels add ".post1", some containers "+cuda12.8"."""
    return ".".join(re.findall(r"\d+", version)[:4])


def first_gpu() -> str:
    """Name and compute capability. Raises ``RuntimeError`` where there is none."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - fixed
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError("no GPU: nvidia-smi does not answer") from error
    return listed.splitlines()[0].strip()


def check(repository: Path, here: Platform, say: Callable[[str], object], *, trial: bool = False) -> bool:
    """Whether every version of every model has a plan that may be served here; says what does not."""
    sound = True
    for graph in sorted(repository.glob("*/*/model.onnx")):
        for misfit in misfits(graph.parent, here, trial=trial):
            sound = False
            say(f"{graph.parent.parent.name} {graph.parent.name}: {misfit}")
    if not sound:
        say("plans do not fit: build them on this machine (dicom-node models build-plan NAME)")
    return sound


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    try:
        fits = check(
            Path(sys.argv[1]),
            this_platform(),
            lambda line: sys.stderr.write(f"{line}\n"),
            trial=TRIAL in sys.argv[2:],
        )
        sys.exit(0 if fits else 1)
    except RuntimeError as error:
        sys.exit(str(error))
