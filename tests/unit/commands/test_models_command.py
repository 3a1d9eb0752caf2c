"""``dicom-node models …`` on the shipped repository and on damaged ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from dicom_node.__main__ import main
from inference.models import MODELS

REPOSITORY = Path(__file__).parents[3] / "triton_models"


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


def test_list_names_every_model_and_its_licence(repository: Path) -> None:
    result = run(repository, "list")
    assert result.exit_code == 0
    for model in MODELS:
        assert model.spec.name in result.output
        assert model.spec.licence in result.output


def test_card_is_printed_and_a_wrong_name_is_told(repository: Path) -> None:
    assert "Must not be used" in run(repository, "card", "lungs_unet").output
    wrong = run(repository, "card", "liver_unet")
    assert wrong.exit_code == 2
    assert "lungs_unet" in wrong.output


def test_shipped_weights_are_intact(repository: Path) -> None:
    result = run(repository, "verify")
    assert result.exit_code == 0, result.output
    assert result.output.count("intact, runs") == len(MODELS)


def test_swapped_weights_are_found(repository: Path) -> None:
    shutil.copy(repository / "lungs_unet/1/model.onnx", repository / "infection_unet/1/model.onnx")
    result = run(repository, "verify")
    assert result.exit_code == 1
    assert "lungs_unet: intact" in result.output
    assert "not the ones that the card describes" in result.output


def test_evaluate_measures_a_folder_of_pairs(repository: Path, tmp_path: Path) -> None:
    patient = tmp_path / "data" / "someone"
    patient.mkdir(parents=True)
    Image.fromarray(np.zeros((256, 256), np.uint8)).save(patient / "0001_ct.png")
    Image.fromarray(np.zeros((256, 256), np.uint8)).save(patient / "0001_mask.png")
    result = run(repository, "evaluate", "infection_unet", "--data", str(patient.parent), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["patients"]["someone"]["pictures"] == 1
