"""Every shipped graph is one that TensorRT takes: parsed and built ahead of time by TensorRT-RTX, which needs no GPU.

What it is not: the full TensorRT of NVIDIA's server, and nothing here has run the plan.
"""

from pathlib import Path

import onnx
import pytest
import tensorrt_rtx as trt
from onnx import TensorProto, helper

from inference.engines.tensorrt_plan import build, parse
from inference.model import Model
from inference.models import EVERY_MODEL

REPOSITORY = Path(__file__).parents[3] / "triton_models"
TYPES = {"float16": trt.float16, "float32": trt.float32, "uint8": trt.uint8, "int32": trt.int32, "int64": trt.int64}


def weights(model: Model) -> Path:
    return REPOSITORY / model.spec.name / model.spec.version / "model.onnx"


SHIPPED = [model for model in EVERY_MODEL if weights(model).exists()]


GATE = trt.ComputeCapability.SM80
"""There is no GPU to take it from."""


@pytest.mark.parametrize("model", SHIPPED, ids=lambda model: model.spec.name)
def test_tensorrt_builds_the_graph_with_the_specified_tensors(model: Model) -> None:
    builder, network = parse(trt, weights(model).read_bytes())
    assert build(trt, builder, network, capability=GATE)
    inputs = [network.get_input(number) for number in range(network.num_inputs)]
    outputs = [network.get_output(number) for number in range(network.num_outputs)]
    for tensors, specs in ((inputs, model.spec.inputs), (outputs, model.spec.outputs)):
        assert [(one.name, one.dtype, tuple(one.shape)) for one in tensors] == [
            (one.name, TYPES[one.dtype], (-1, *one.shape)) for one in specs
        ]


def test_a_graph_that_tensorrt_does_not_know_is_told() -> None:
    graph = helper.make_graph(
        [helper.make_node("StringNormalizer", ["a"], ["b"])],
        "strings",
        [helper.make_tensor_value_info("a", TensorProto.STRING, ["n"])],
        [helper.make_tensor_value_info("b", TensorProto.STRING, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    with pytest.raises(ValueError, match=r"does not take the graph: \w"):
        parse(trt, model.SerializeToString())
