"""A plan is served where it was built, from what it was built, or not at all."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from inference.engines.plan_manifest import (
    MANIFEST,
    NEVER_COMPARED,
    PLAN,
    PlanManifest,
    PlanParity,
    Platform,
    check,
    four_numbers,
    misfits,
    read_manifest,
    state_parity,
)

HERE = Platform(tensorrt="10.13.2.6", gpu="NVIDIA L4, 8.9")
MANIFEST_OF_HERE = PlanManifest(
    onnx_sha256=hashlib.sha256(b"graph").hexdigest(),
    plan_sha256=hashlib.sha256(b"plan").hexdigest(),
    tensorrt=HERE.tensorrt,
    gpu=HERE.gpu,
    rows=(1, 16, 32),
    parity=PlanParity(reference="torch float32", said="Dice 0.9990", holds=True),
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


def test_a_plan_for_fewer_pictures_than_triton_hands_over(folder: Path) -> None:
    configuration = folder.parent / "config.pbtxt"
    configuration.write_text('name: "lungs_unet"\nmax_batch_size: 32\n')
    assert misfits(folder, HERE) == []
    configuration.write_text('name: "lungs_unet"\nmax_batch_size: 64\n')
    assert misfits(folder, HERE) == ["the plan takes 32 pictures at once, config.pbtxt promises 64"]


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


def test_a_plan_is_served_once_its_answers_were_compared_and_held(folder: Path) -> None:
    built = replace(MANIFEST_OF_HERE, parity=None)
    (folder / MANIFEST).write_text(built.as_json())
    assert misfits(folder, HERE) == [NEVER_COMPARED]
    assert misfits(folder, HERE, trial=True) == []
    said = PlanParity(reference="torch float32", said="Dice 0.9000", holds=False)
    state_parity(folder, said)
    assert read_manifest(folder / MANIFEST) == replace(built, parity=said)
    for trial in (False, True):
        assert misfits(folder, HERE, trial=trial) == ["the plan answers otherwise: Dice 0.9000"]
    assert MANIFEST_OF_HERE.parity is not None
    state_parity(folder, MANIFEST_OF_HERE.parity)
    assert misfits(folder, HERE) == []


@pytest.mark.parametrize("name", [PLAN, "model.onnx", MANIFEST])
def test_no_parity_is_stated_of_another_plan(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"another")
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(ValueError, match=r"another plan or graph|no manifest"):
        state_parity(folder, PlanParity(reference="torch float32", said="", holds=True))
    assert (folder / MANIFEST).read_bytes() == before


def test_versions_of_wheels_and_containers_are_the_same() -> None:
    assert (
        four_numbers("10.13.2.6")
        == four_numbers("10.13.2.6.post1")
        == four_numbers("10.13.2.6+cuda13.0")
        == "10.13.2.6"
    )


def test_as_a_program(folder: Path, tmp_path: Path) -> None:
    """With a stand-in for nvidia-smi, as there is no GPU here."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'NVIDIA L4, 8.9'\n")
    tool.chmod(0o755)
    command = [sys.executable, "-m", "inference.engines.plan_manifest", str(folder.parents[1])]
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    for version, status in ((f"{HERE.tensorrt}+cuda13.0", 0), ("11.0.0.1", 1), ("", 1)):
        surroundings = {**os.environ, "PATH": path, "TRT_VERSION": version}
        ended = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
        assert ended.returncode == status, ended.stderr
    (folder / MANIFEST).write_text(replace(MANIFEST_OF_HERE, parity=None).as_json())
    surroundings = {**os.environ, "PATH": path, "TRT_VERSION": HERE.tensorrt}
    for arguments, status in (([], 1), (["--trial"], 0)):
        ended = subprocess.run([*command, *arguments], env=surroundings, capture_output=True, text=True, check=False)
        assert ended.returncode == status, ended.stderr
