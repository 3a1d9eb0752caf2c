"""The committed graphs against their specifications, cards and stated figures."""

import hashlib
import re
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from inference.engines.embedded import EmbeddedEngine
from inference.engines.parity import SMALLEST_DICE, MaskParity
from inference.model import Model, Tensors
from inference.models import EVERY_MODEL, MODELS, InfectionUnet, LungsUnet
from inference.models.slice_preparation import INPUT, LUNGS, OUTPUT
from inference.phantoms import Phantom, chest_ct
from inference.training.cases import READERS, read_case
from inference.training.evaluation import evaluate
from inference.training.splits import COMMITTED, read_split

REPOSITORY = Path(__file__).parents[3] / "triton_models"
LARGEST_BYTES = 10_000_000
NUMPY_TO_ONNX = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}
OPERATORS = {
    *("Add", "Cast", "Concat", "Constant", "Conv", "Div", "Gather", "Greater", "MaxPool", "Mul", "Relu", "Reshape"),
    *("Resize", "Sigmoid", "Slice", "Squeeze", "Transpose", "DepthToSpace", "SpaceToDepth", "Unsqueeze"),
    *("Clip", "Exp", "Expand", "GatherElements", "Gemm", "LeakyRelu", "Max", "Min", "Mish", "ReduceMax", "ReduceMean"),
    *("Shape", "Softmax", "Sub", "TopK", "Trilu"),
}
"""What every engine we mean to serve with knows, TensorRT included."""

each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.spec.name)
every_model = pytest.mark.parametrize("model", EVERY_MODEL, ids=lambda model: model.spec.name)
LICENCE_WORDS = {"CC BY-NC-SA 4.0, research only": "BY-NC-SA", "Apache-2.0": "Apache License, Version 2.0"}


def folder(model: Model) -> Path:
    return REPOSITORY / model.spec.name


def card(model: Model) -> str:
    return (folder(model) / "CARD.md").read_text(encoding="utf-8")


@every_model
def test_graph_keeps_the_specification(model: Model) -> None:
    file = folder(model) / model.spec.version / "model.onnx"
    assert file.stat().st_size <= LARGEST_BYTES
    graph = onnx.load(file)
    onnx.checker.check_model(graph)
    assert [one.version for one in graph.opset_import if one.domain == ""] == [20]
    for tensors, specs in ((graph.graph.input, model.spec.inputs), (graph.graph.output, model.spec.outputs)):
        assert [one.name for one in tensors] == [one.name for one in specs]
        for one, spec in zip(tensors, specs, strict=True):
            assert one.type.tensor_type.elem_type == NUMPY_TO_ONNX[spec.dtype]
            batch, *rest = one.type.tensor_type.shape.dim
            assert batch.dim_param
            assert not batch.dim_value
            assert tuple(axis.dim_value for axis in rest) == spec.shape
    assert {node.op_type for node in graph.graph.node} <= OPERATORS


@every_model
def test_card_describes_these_weights(model: Model) -> None:
    weights = (folder(model) / model.spec.version / "model.onnx").read_bytes()
    text = card(model)
    assert f"SHA-256: `{hashlib.sha256(weights).hexdigest()}`" in text
    assert model.spec.licence in text
    assert "Must not be used" in text
    assert LICENCE_WORDS[model.spec.licence] in (folder(model) / "LICENSE").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def engine() -> EmbeddedEngine:
    return EmbeddedEngine(repository=REPOSITORY)


@pytest.fixture(scope="module")
def inputs(engine: EmbeddedEngine) -> dict[str, Tensors]:
    """A phantom that no model has seen, as each model gets it in the pipeline before cleaning."""
    lungs, infection = LungsUnet(), InfectionUnet()
    given = lungs.prepare(phantom().volume)
    found = engine.run(lungs.spec, given)[OUTPUT.name] > 0
    return {lungs.spec.name: given, infection.spec.name: infection.prepare(given[INPUT.name], found)}


@cache
def phantom() -> Phantom:
    return chest_ct(seed=41, slices=20, size_px=256)


@each_model
def test_models_see_phantoms_that_they_never_saw(
    model: Model, engine: EmbeddedEngine, inputs: dict[str, Tensors]
) -> None:
    """Pictures alone; what the pipeline makes of them is tested with the pipeline."""
    truths = {"lungs_unet": phantom().left_lung | phantom().right_lung, "infection_unet": phantom().infected}
    marked = model.interpret(engine.run(model.spec, inputs[model.spec.name]), phantom().volume) > 0
    truth = truths[model.spec.name]
    dice = 2 * np.count_nonzero(marked & truth) / (np.count_nonzero(marked) + np.count_nonzero(truth))
    assert dice >= {"lungs_unet": 0.93, "infection_unet": 0.70}[model.spec.name]


def parity(model: Model, engine: EmbeddedEngine, given: Tensors) -> MaskParity:
    """The engine, in bfloat16 where the processor computes in it, against ONNX Runtime in float32."""
    file = folder(model) / model.spec.version / "model.onnx"
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, dict(given))
    assert not MaskParity.of(expected, np.roll(expected, 3, axis=1)).holds
    return MaskParity.of(expected, engine.run(model.spec, given)[OUTPUT.name])


@pytest.mark.real_data
@each_model
def test_the_engine_passes_the_parity_gate(model: Model, engine: EmbeddedEngine, shared_data: Path) -> None:
    """On pictures of all validation patients."""
    cases = [
        read_case(shared_data / "covid19_ct_seg_png" / name, READERS).slices[::8]
        for name in read_split(COMMITTED).validation
    ]
    grey = np.concatenate(cases)[:, None].astype(np.float16)
    given = {INPUT.name: grey}
    if LUNGS in model.spec.inputs:
        given[LUNGS.name] = engine.run(LungsUnet().spec, given)[OUTPUT.name]
    found = parity(model, engine, given)
    assert found.holds, found


@each_model
def test_the_engine_marks_the_same_on_a_phantom(
    model: Model, engine: EmbeddedEngine, inputs: dict[str, Tensors]
) -> None:
    """Dice alone: phantoms hold several times as much rim of lesions as patients do, and labels differ on rims."""
    assert parity(model, engine, inputs[model.spec.name]).dice >= SMALLEST_DICE


@pytest.mark.real_data
@each_model
def test_figures_of_the_card_are_true(model: Model, engine: EmbeddedEngine, shared_data: Path) -> None:
    """One validation patient, the smallest; the command in the card gives all of them."""
    patient = "radiopaedia_4_85506_1"
    stated = re.search(rf"{patient} +\| +([\d.]+)", card(model))
    assert stated
    figures = evaluate(model, engine, shared_data / "covid19_ct_seg_png", (patient,))
    assert figures["patients"][patient]["dice"] == pytest.approx(float(stated[1]), abs=0.01)
