"""``dicom-node models evaluate``, ``restate`` and ``verify`` on the shipped repository and on damaged ones."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from dicom_node.__main__ import main
from inference.models import EVERY_MODEL, MODELS, InfectionUnet, LungsUnet
from inference.models.slice_preparation import prepare_slices
from inference.phantoms import chest_ct
from inference.training.evaluation.stated import with_table
from tests.unit.training.threshold_graphs import write_patient, write_threshold_model

REPOSITORY = Path(__file__).parents[3] / "triton_models"
SMALLEST_PATIENT = "radiopaedia_4_85506_1"
NAMES = [model.spec.name for model in MODELS]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    copy = tmp_path / "models"
    shutil.copytree(REPOSITORY, copy)
    return copy


def run(repository: Path, *arguments: str) -> Result:
    config = repository.parent / "node.toml"
    config.write_text(f'[engine]\nrepository = "{repository}"\n')
    return CliRunner().invoke(main, ["models", *arguments, "--config", str(config)])


def write_phantom(folder: Path, seed: int) -> None:
    """Three slices of a generated chest as a labelled case."""
    phantom = chest_ct(seed=seed, slices=9, size_px=256)
    folder.mkdir(parents=True)
    palette = np.where(phantom.infected, 2, phantom.left_lung | phantom.right_lung).astype(np.uint8)
    grey = prepare_slices(phantom.volume.array_zyx[3:6])[:, 0].astype(np.uint8)
    for number, (ct, mask) in enumerate(zip(grey, palette[3:6], strict=True)):
        Image.fromarray(ct).save(folder / f"{number:04d}_ct.png")
        Image.fromarray(mask).save(folder / f"{number:04d}_mask.png")


@pytest.fixture
def restated(repository: Path, tmp_path: Path) -> Path:
    """``data`` with two phantoms; the cards in ``repository`` state the figures on them."""
    for name, seed in (("left", 3), ("right", 8)):
        write_phantom(tmp_path / "data" / name, seed)
    for name in NAMES:
        result = run(repository, "restate", name, "--data", str(tmp_path / "data"), "--case", "left", "--case", "right")
        assert result.exit_code == 0, result.output
    return tmp_path / "data"


def swap_figures(repository: Path, name: str) -> None:
    """Both patients' figures change places, in the file of figures and in the card."""
    file, card = repository / name / "figures.json", repository / name / "CARD.md"
    figures = json.loads(file.read_text())
    figures["patients"] = dict(zip(figures["patients"], reversed(figures["patients"].values()), strict=True))
    file.write_text(json.dumps(figures))
    card.write_text(with_table(card.read_text(), figures))


def test_shipped_models_are_intact(repository: Path) -> None:
    result = run(repository, "verify")
    assert result.exit_code == 0, result.output
    assert result.output.count("intact, runs") == len(EVERY_MODEL)


def test_swapped_weights_are_found(repository: Path) -> None:
    lungs, infection = (repository / model.spec.name / model.spec.version for model in (LungsUnet(), InfectionUnet()))
    shutil.copy(lungs / "model.onnx", infection / "model.onnx")
    result = run(repository, "verify")
    assert result.exit_code == 1
    assert "lungs_unet: intact" in result.output
    assert "not the ones that the card describes" in result.output


@pytest.mark.parametrize("file", ["figures.json", "CARD.md"])
def test_a_missing_file_is_named(repository: Path, file: str) -> None:
    (repository / "lungs_unet" / file).unlink()
    result = run(repository, "verify")
    assert result.exit_code == 1
    assert f"{file} is missing" in result.output
    assert "infection_unet: intact" in result.output


def test_a_card_that_says_other_figures_is_found(repository: Path) -> None:
    card = repository / "lungs_unet" / "CARD.md"
    first = next(line for line in card.read_text().splitlines() if line.startswith(f"| {SMALLEST_PATIENT}"))
    card.write_text(card.read_text().replace(first, first.replace("0.9", "0.8", 1)))
    result = run(repository, "verify")
    assert result.exit_code == 1
    assert f"CARD.md lacks what figures.json says: {first}" in result.output


def test_damaged_figures_are_told_not_thrown(repository: Path) -> None:
    (repository / "lungs_unet" / "figures.json").write_text("{")
    result = run(repository, "verify")
    assert result.exit_code == 1
    assert "figures.json is not a file of figures" in result.output


def test_swapped_figures_are_found_by_measuring_again(repository: Path, restated: Path) -> None:
    assert run(repository, "verify", "--data", str(restated)).exit_code == 0
    stated = json.loads((repository / "infection_unet" / "figures.json").read_text())["patients"]
    dice = {name: one["dice"] for name, one in stated.items()}
    assert abs(dice["left"] - dice["right"]) > 0.01  # else swapping them tests nothing
    swap_figures(repository, "infection_unet")
    assert run(repository, "verify").exit_code == 0  # only a measurement can tell
    result = run(repository, "verify", "--data", str(restated))
    assert result.exit_code == 1
    assert f"left: Dice {dice['right']:.3f} stated, {dice['left']:.3f} found" in result.output
    assert f"right: Dice {dice['left']:.3f} stated, {dice['right']:.3f} found" in result.output
    assert "lungs_unet: intact" in result.output


def test_data_without_the_stated_patients_verify_nothing(repository: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "data" / "stranger", 3)
    result = run(repository, "verify", "--data", str(tmp_path / "data"))
    assert result.exit_code == 1
    assert result.output.count("none of the patients of its figures is in") == len(MODELS)


@pytest.mark.real_data
def test_shipped_figures_hold_on_the_smallest_patient(repository: Path, shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / SMALLEST_PATIENT).symlink_to(shared_data / "covid19_ct_seg_png" / SMALLEST_PATIENT)
    result = run(repository, "verify", "--data", str(tmp_path / "data"))
    assert result.exit_code == 0, result.output
    assert result.output.count("measuring 1 of the") == len(MODELS)


def test_restate_measures_the_stated_patients_again(repository: Path, restated: Path) -> None:
    write_phantom(restated / "stranger", 5)
    file = repository / "infection_unet" / "figures.json"
    before = json.loads(file.read_text())
    swap_figures(repository, "infection_unet")
    assert run(repository, "restate", "infection_unet", "--data", str(restated)).exit_code == 0
    assert json.loads(file.read_text())["patients"] == before["patients"]
    assert run(repository, "verify", "--data", str(restated)).exit_code == 0


@pytest.fixture
def measurable(repository: Path, tmp_path: Path) -> Path:
    """Two patients, and models in ``repository`` that find half and all of the lesions by brightness."""
    write_patient(tmp_path / "data" / "half", bright_rows=50)
    write_patient(tmp_path / "data" / "whole", bright_rows=100)
    for model in (LungsUnet(), InfectionUnet()):
        write_threshold_model(repository, model.spec, probability=model.spec.name == "infection_unet")
    return tmp_path / "data"


def test_evaluate_tells_programs_everything(repository: Path, measurable: Path) -> None:
    result = run(repository, "evaluate", "infection_unet", "--data", str(measurable), "--json", "--case", "half")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.output)
    assert list(figures["patients"]) == ["half"]
    assert figures["patients"]["half"]["iou"] == 0.5
    assert figures["average_precision"] > 0.5
    assert figures["data_set"] == "data"


def test_evaluate_tells_people_a_table(repository: Path, measurable: Path) -> None:
    output = run(repository, "evaluate", "infection_unet", "--data", str(measurable)).output
    assert "| half  " in output
    assert "mean of 2 patients" in output
    assert "cannot fall under 0.98" in output
    output = run(repository, "evaluate", "lungs_unet", "--data", str(measurable)).output
    assert "precision-recall curve: no probability in this graph" in output


def test_evaluate_draws_the_curve(repository: Path, measurable: Path, tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    arguments = ("--data", str(measurable), "--curve", str(picture))
    assert run(repository, "evaluate", "infection_unet", *arguments).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    refused = run(repository, "evaluate", "lungs_unet", *arguments)
    assert refused.exit_code == 1
    assert "nothing to draw: no probability in this graph" in refused.output


def test_drawing_without_matplotlib_says_what_to_do(
    repository: Path, measurable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    arguments = ("evaluate", "infection_unet", "--data", str(measurable))
    assert run(repository, *arguments).exit_code == 0
    result = run(repository, *arguments, "--curve", str(tmp_path / "curve.png"))
    assert result.exit_code == 2
    assert "make train-env" in result.output


def test_wrong_names_are_told(repository: Path, measurable: Path) -> None:
    result = run(repository, "evaluate", "infection_unet", "--data", str(measurable), "--case", "nobody")
    assert result.exit_code == 2
    assert "no labelled case named nobody" in result.output
    assert run(repository, "evaluate", "liver_unet", "--data", str(measurable)).exit_code == 2
