"""``dicom-node models train | compare | transfer`` on a few small patients, a step or two each."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from dicom_node.__main__ import main
from inference.training import room

REPOSITORY = Path(__file__).parents[3] / "triton_models"
PATIENTS = ("ann", "bob", "cem", "dee")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients of two pictures: dark lungs with a brighter lesion."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(1)
    palette = np.zeros((256, 256), np.uint8)
    palette[60:200, 30:110], palette[60:200, 150:230] = 1, 1
    palette[100:140, 50:90] = 2
    for patient in PATIENTS:
        (folder / patient).mkdir()
        for number in range(2):
            grey = np.choose(palette, [200, 40, 120]) + random.normal(0, 8, palette.shape)
            Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(folder / patient / f"{number:04d}_ct.png")
            Image.fromarray(palette).save(folder / patient / f"{number:04d}_mask.png")
    return folder


def run(tmp_path: Path, *arguments: str) -> Result:
    config = tmp_path / "node.toml"
    config.write_text(f'[engine]\nrepository = "{REPOSITORY}"\nthreads = 1\n')
    return CliRunner().invoke(main, ["models", *arguments, "--config", str(config)])


@pytest.mark.filterwarnings("default")  # torch's exporter warns of its own deprecations
def test_a_served_model_is_trained_to_a_graph_with_figures(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((model, members),) = (entry for entry in room.SHIPPED if entry[0].spec.name == "infection_unet")
    quick = tuple(replace(recipe, phantom_seeds=(1000, 1001), phantom_slices=4) for recipe in members)
    monkeypatch.setattr(room, "SHIPPED", ((model, quick),))
    out = tmp_path / "out"
    result = run(tmp_path, "train", "infection_unet", "--data", str(data), "--out", str(out), "--steps", "1")
    assert result.exit_code == 0, result.output
    graph = onnx.load(next((out / "infection_unet").glob("*/model.onnx")))
    assert [one.name for one in graph.graph.input] == ["slices", "lungs"]
    figures = json.loads((out / "infection_unet" / "figures.json").read_text())
    assert len(figures["patients"]) == 1
    assert "average_precision" in next(iter(figures["patients"].values()))
    assert "validation" in (out / "split.toml").read_text()


def test_a_recipe_is_trained_at_its_papers_pace(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("train", "tv_unet", "--data", str(data), "--out", str(out), "--pace", "paper", "--steps", "1")
    result = run(tmp_path, *arguments)
    assert result.exit_code == 0, result.output
    assert (out / "best.pt").exists()
    again = run(tmp_path, *arguments[:-1], "2")
    assert again.exit_code == 2
    assert "another recipe or pace" in again.output


def test_recipes_are_compared_over_patients(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = ("tv_unet", "inside_lungs_unet")
    result = run(tmp_path, "compare", *names, "--data", str(data), "--out", str(out), "--steps", "1")
    assert result.exit_code == 0, result.output
    assert "| tv_unet + inside_lungs_unet |" in result.output
    table = json.loads((out / "comparison.json").read_text())
    assert {len(row["patients"]) for row in table} == {3}  # every training patient was held back once
    assert len(table) == 3


def test_transfer_needs_its_parts_and_then_makes_the_table(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("transfer", "--data", str(data), "--out", str(out), "--steps", "1")
    refused = run(tmp_path, *arguments)
    assert refused.exit_code == 2
    assert "[transfer]" in refused.output
    with (out / "split.toml").open("a") as file:
        file.write('[transfer]\nfirst = ["ann"]\nfirst_test = ["bob"]\nsmall_part = ["cem"]\nsecond_test = ["dee"]\n')
    result = run(tmp_path, *arguments)
    assert result.exit_code == 0, result.output
    assert "| A → B, fine-tuned on a small part of B |" in result.output
    table = json.loads((out / "transfer.json").read_text())
    assert all(0 <= row["f1"] <= 1 and row["slices"] == 2 for row in table.values())


def test_an_unknown_recipe_is_told(data: Path, tmp_path: Path) -> None:
    result = run(tmp_path, "train", "resnet", "--data", str(data), "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "tv_unet" in result.output
