"""A plan is served where it was built, from what it was built, or not at all."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from inference.engines.plan_manifest import MANIFEST, PLAN, PlanManifest, Platform, check, misfits, read_manifest

HERE = Platform(tensorrt="10.13.2.6", gpu="NVIDIA L4, 8.9")
MANIFEST_OF_HERE = PlanManifest(
    onnx_sha256=hashlib.sha256(b"graph").hexdigest(),
    plan_sha256=hashlib.sha256(b"plan").hexdigest(),
    tensorrt=HERE.tensorrt,
    gpu=HERE.gpu,
    rows=(1, 16, 32),
    parity="",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    version = tmp_path / "models" / "lungs_unet" / "2"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(b"graph")
    (version / PLAN).write_bytes(b"plan")
    (version / MANIFEST).write_text(MANIFEST_OF_HERE.as_json())
    return version


def test_a_plan_that_fits(folder: Path) -> None:
    assert read_manifest(folder / MANIFEST) == MANIFEST_OF_HERE
    assert misfits(folder, HERE) == []
    said: list[str] = []
    assert check(folder.parents[1], HERE, said.append)
    assert said == []


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (replace(HERE, tensorrt="10.14.0.1"), "TensorRT was 10.13.2.6, here it is 10.14.0.1"),
        (replace(HERE, gpu="NVIDIA T4, 7.5"), "the GPU was NVIDIA L4, 8.9, here it is NVIDIA T4, 7.5"),
    ],
)
def test_another_machine(folder: Path, here: Platform, said: str) -> None:
    assert misfits(folder, here) == [said]


@pytest.mark.parametrize(("name", "said"), [(PLAN, "the plan was"), ("model.onnx", "model.onnx was")])
def test_another_file(folder: Path, name: str, said: str) -> None:
    (folder / name).write_bytes(b"replaced")
    (misfit,) = misfits(folder, HERE)
    assert misfit.startswith(said)
    (folder / name).unlink()
    (misfit,) = misfits(folder, HERE)
    assert name in misfit


@pytest.mark.parametrize("text", [None, "{}", "[]", "no json", '{"rows": 3}'])
def test_no_manifest(folder: Path, text: str | None) -> None:
    (folder / MANIFEST).unlink()
    if text is not None:
        (folder / MANIFEST).write_text(text)
    said: list[str] = []
    assert not check(folder.parents[1], HERE, said.append)
    assert said[0].startswith("lungs_unet 2: ")
    assert "is no manifest of a plan" in said[0]
    assert "build-plan" in said[-1]


def test_as_a_program(folder: Path, tmp_path: Path) -> None:
    """With a stand-in for nvidia-smi, as there is no GPU here."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'NVIDIA L4, 8.9'\n")
    tool.chmod(0o755)
    command = [sys.executable, "-m", "inference.engines.plan_manifest", str(folder.parents[1])]
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    for version, status in ((HERE.tensorrt, 0), ("11.0.0.1", 1), ("", 1)):
        surroundings = {**os.environ, "PATH": path, "TRT_VERSION": version}
        ended = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
        assert ended.returncode == status, ended.stderr
