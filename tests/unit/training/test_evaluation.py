"""Figures on pictures whose overlap is known beforehand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from inference.engines.embedded import EmbeddedEngine
from inference.models import InfectionUnet, LungsUnet
from inference.training.evaluation import Overlap, choose_threshold, evaluate
from inference.training.pictures import read_case, read_split


def write_threshold_model(repository: Path, name: str, threshold: float = 100.0) -> None:
    """A graph with the contract of the real ones: marks what is brighter than the threshold."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["slices"], ["grey"], to=TensorProto.FLOAT),
            helper.make_node("Squeeze", ["grey", "axis"], ["flat"]),
            helper.make_node("Greater", ["flat", "threshold"], ["marked"]),
            helper.make_node("Cast", ["marked"], ["labels"], to=TensorProto.UINT8),
        ],
        "threshold",
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT16, ["n", 1, 256, 256])],
        [helper.make_tensor_value_info("labels", TensorProto.UINT8, ["n", 256, 256])],
        [
            helper.make_tensor("threshold", TensorProto.FLOAT, [], [threshold]),
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    target = repository / name / "1" / "model.onnx"
    target.parent.mkdir(parents=True)
    onnx.save(model, target)


def write_patient(folder: Path, *, bright_rows: int, pictures: int = 2) -> None:
    """Lesion in rows 0-99, lung in rows 0-199; ``bright_rows`` of them are bright, over all columns."""
    folder.mkdir(parents=True)
    mask = np.zeros((256, 256), np.uint8)
    mask[:200], mask[:100] = 1, 2
    grey = np.full((256, 256), 50, np.uint8)
    grey[:bright_rows] = 150
    for number in range(pictures):
        Image.fromarray(grey).save(folder / f"{number:04d}_ct.png")
        palette = Image.fromarray(mask, mode="P")
        palette.putpalette([0, 0, 0, 0, 128, 0, 200, 0, 0, 0, 0, 200])
        palette.save(folder / f"{number:04d}_mask.png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_patient(tmp_path / "data" / "half", bright_rows=50)
    write_patient(tmp_path / "data" / "whole", bright_rows=100)
    return tmp_path / "data"


def test_known_overlaps_are_reproduced(data: Path, tmp_path: Path) -> None:
    write_threshold_model(tmp_path / "models", "infection_unet")
    figures = evaluate(InfectionUnet(), EmbeddedEngine(repository=tmp_path / "models", threads=1), data)
    half, whole = figures["patients"]["half"], figures["patients"]["whole"]
    assert half == pytest.approx({"dice": 2 / 3, "iou": 0.5, "precision": 1.0, "recall": 0.5, "pictures": 2})
    assert whole["dice"] == 1.0
    assert figures["mean_per_patient"]["dice"] == pytest.approx(5 / 6)
    assert figures["pooled"]["recall"] == pytest.approx(0.75)
    low, high = figures["mean_per_patient"]["dice_95"]
    assert 2 / 3 <= low < 5 / 6 < high <= 1.0


def test_lung_includes_the_lesions_in_it(data: Path, tmp_path: Path) -> None:
    write_threshold_model(tmp_path / "models", "lungs_unet")
    figures = evaluate(
        LungsUnet(), EmbeddedEngine(repository=tmp_path / "models", threads=1), data, cases=("whole",)
    )  # fmt: skip
    assert figures["patients"]["whole"]["recall"] == pytest.approx(0.5)


def test_two_empty_masks_agree() -> None:
    empty, full = np.zeros((1, 4, 4), bool), np.ones((1, 4, 4), bool)
    assert Overlap.of(empty, empty).dice == 1.0
    assert Overlap.of(full, empty) == Overlap(dice=0.0, iou=0.0, precision=0.0, recall=1.0, pictures=1)
    assert Overlap.of(empty, full).precision == 0.0


def test_threshold_follows_the_validation_pictures() -> None:
    truth = np.zeros((1, 8, 8), bool)
    truth[0, :4] = True
    probability = np.where(truth, 0.42, 0.33).astype(np.float32)
    assert 0.33 < choose_threshold(probability, truth) < 0.42
    truth[0, 4] = True  # one row in five is seen too weakly at any threshold
    assert 0.33 < choose_threshold(probability, truth) < 0.42


def test_a_picture_without_mask_is_named(data: Path) -> None:
    (data / "half" / "0001_mask.png").unlink()
    with pytest.raises(ValueError, match=r"0001_ct\.png has no mask"):
        read_case(data / "half")


def test_split_keeps_patients_apart() -> None:
    training, validation = read_split("covid19_ct_seg_png")
    assert not set(training) & set(validation)
    for side in (training, validation):
        assert len({name.split("_")[0] for name in side}) == 2  # both sources
        assert len(set(side)) == len(side)
    uncertain = {"radiopaedia_29_86490_1", "radiopaedia_29_86491_1"}
    assert uncertain <= set(training) or uncertain <= set(validation)
