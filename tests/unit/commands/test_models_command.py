"""``dicom-node models list`` and ``card`` on the shipped repository."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dicom_node.__main__ import main
from inference.models import EVERY_MODEL

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
    for model in EVERY_MODEL:
        assert model.spec.name in result.output
        assert model.spec.licence in result.output


def test_card_is_printed_and_a_wrong_name_is_told(repository: Path) -> None:
    assert "Must not be used" in run(repository, "card", "lungs_unet").output
    wrong = run(repository, "card", "liver_unet")
    assert wrong.exit_code == 2
    assert "lungs_unet" in wrong.output


def test_a_model_that_needs_labelled_data_says_so(repository: Path) -> None:
    done = run(repository, "evaluate", "lungs_unet")
    assert done.exit_code == 2
    assert "needs labelled data: --data DIR" in done.output
