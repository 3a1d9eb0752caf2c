"""What engines are compared on, with which limits, and what is written of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from dicom_node.commands.engine_parity import EXPORT_FACTS, _as_exported
from dicom_node.commands.labelled_studies import ALL_READERS
from dicom_node.commands.parity_inputs import PATIENT_SLICES, ParityInputs, patient_inputs
from dicom_node.commands.plan_parity import into_manifests
from dicom_node.settings import EngineSettings
from inference.engines.output_parity import PATIENT_MASKS, PHANTOM_MASKS, labels
from inference.model import ModelSpec, Tensors
from inference.models import MODELS, LungsUnet
from tests.unit.commands.test_figures_command import write_phantom


def no_lungs(spec: ModelSpec, inputs: Tensors) -> Tensors:
    rows = len(inputs[spec.inputs[0].name])
    return {one.name: np.zeros((rows, *one.shape), one.dtype) for one in spec.outputs}


def test_patients_are_compared_on_slices_of_each(tmp_path: Path) -> None:
    for name, seed in (("left", 3), ("right", 8)):
        write_phantom(tmp_path / name, seed)  # three slices
    given = patient_inputs(no_lungs, tmp_path, ALL_READERS)
    assert [one.spec.name for one in given] == [model.spec.name for model in MODELS]
    for one in given:
        assert one.of == "6 slices of 2 patients"
        assert one.masks == PATIENT_MASKS
        assert {len(tensor) for tensor in one.inputs.values()} == {6}
    assert PATIENT_SLICES >= 3
    (tmp_path / "nobody").mkdir()
    with pytest.raises(ValueError, match="no labelled patient"):
        patient_inputs(no_lungs, tmp_path / "nobody", ALL_READERS)


def test_patients_have_a_second_limit_that_phantoms_have_not() -> None:
    mask = np.zeros((1, 256, 256), np.uint8)
    mask[:, 20:220, 20:220] = 1
    other = mask.copy()
    other[:, 20, 20:40] = 0  # 3e-4 of all pixels
    assert labels(mask, other, limits=PHANTOM_MASKS).holds
    assert not labels(mask, other, limits=PATIENT_MASKS).holds


@pytest.mark.parametrize(("precision", "dice"), [("int8", 0.99), ("fp16", 0.995), (None, 0.995)])
def test_integers_have_their_own_limit(tmp_path: Path, precision: str | None, dice: float) -> None:
    spec = LungsUnet().spec
    if precision is not None:
        (tmp_path / spec.name).mkdir()
        (tmp_path / spec.name / EXPORT_FACTS).write_text(json.dumps({"precision": precision}))
    given = ParityInputs(spec=spec, inputs={}, of="a phantom", masks=PHANTOM_MASKS)
    assert _as_exported(given, tmp_path).masks.dice == dice


def test_manifests_need_a_triton_server() -> None:
    assert into_manifests([], EngineSettings()) == ([], ["--into-manifest needs --engines triton=HOST:PORT"])
