"""Tiny graphs with the contract of the real ones, and patients whose overlap with them is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper
from PIL import Image

from inference.model import ModelSpec
from inference.models.slice_preparation import INPUT, LUNGS, OUTPUT, SIZE_PX

GREY_LEVELS = 255.0


INFECTION = ModelSpec(
    name="infection",
    version="1",
    inputs=(INPUT,),
    outputs=(OUTPUT,),
    labels=("background", "infected region"),
    source="",
    trained_on="",
    licence="",
)
INFECTION_IN_LUNGS = replace(INFECTION, name="infection_in_lungs", inputs=(INPUT, LUNGS))


def write_threshold_model(
    repository: Path, spec: ModelSpec, threshold: float = 100.0, *, probability: bool = False
) -> Path:
    """A graph that marks what is brighter than the threshold, inside the lungs where the model is given them.

    ``probability``: grey / 255 is a tensor of that name.
    """
    in_lungs = LUNGS in spec.inputs
    nodes = [
        helper.make_node("Cast", ["slices"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Squeeze", ["grey", "axis"], ["flat"]),
        helper.make_node("Div", ["flat", "levels"], ["probability" if probability else "share"]),
        helper.make_node("Greater", ["probability" if probability else "share", "threshold"], ["bright"]),
        *_confined(in_lungs),
        helper.make_node("Cast", ["marked"], ["labels"], to=TensorProto.UINT8),
    ]
    inputs = [_value("slices", TensorProto.FLOAT16, ["n", 1, SIZE_PX, SIZE_PX])]
    if in_lungs:
        inputs.append(_value("lungs", TensorProto.UINT8, ["n", SIZE_PX, SIZE_PX]))
    constants = [
        helper.make_tensor("threshold", TensorProto.FLOAT, [], [threshold / GREY_LEVELS]),
        helper.make_tensor("levels", TensorProto.FLOAT, [], [GREY_LEVELS]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
    ]
    outputs = [_value("labels", TensorProto.UINT8, ["n", SIZE_PX, SIZE_PX])]
    graph = helper.make_graph(nodes, "threshold", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    target = repository / spec.name / spec.version / "model.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, target)
    return target


def _confined(in_lungs: bool) -> list[NodeProto]:
    if not in_lungs:
        return [helper.make_node("Identity", ["bright"], ["marked"])]
    return [
        helper.make_node("Cast", ["lungs"], ["inside"], to=TensorProto.BOOL),
        helper.make_node("And", ["bright", "inside"], ["marked"]),
    ]


def _value(name: str, kind: int, shape: list[str | int]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def write_patient(folder: Path, *, bright_rows: int, pictures: int = 2) -> None:
    """Lesion in rows 0-99, lung in rows 0-199; ``bright_rows`` of them are bright (150, else 50), over all columns."""
    grey = np.full((SIZE_PX, SIZE_PX), 50, np.uint8)
    grey[:bright_rows] = 150
    write_pictures(folder, grey, pictures=pictures)


def write_pictures(folder: Path, grey: NDArray[np.uint8], *, pictures: int = 1, lesion_rows: int = 100) -> None:
    """The same picture several times, with lesion in the first rows and lung in rows 0-199."""
    folder.mkdir(parents=True)
    mask = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    mask[:200], mask[:lesion_rows] = 1, 2
    for number in range(pictures):
        Image.fromarray(grey).save(folder / f"{number:04d}_ct.png")
        palette = Image.fromarray(mask, mode="P")
        palette.putpalette([0, 0, 0, 0, 128, 0, 200, 0, 0, 0, 0, 200])
        palette.save(folder / f"{number:04d}_mask.png")
