"""From a model's graph to a TensorRT plan, with the batch profile that its Triton configuration asks for.

Written against the part of the Python API that TensorRT and TensorRT-RTX share; the caller brings the module, so that
neither is needed to serve, and the tests build every graph without a GPU. Precision is that of the graph: networks are
strongly typed.
"""

from typing import Any

from inference.engines.triton_config import LARGEST_BATCH, USUAL_BATCH

ROWS = (1, USUAL_BATCH, LARGEST_BATCH)
"""Smallest, usual and largest batch."""


def parse(trt: Any, graph: bytes) -> tuple[Any, Any]:
    """Builder and network of an ONNX graph. Raises ``ValueError`` with what TensorRT does not take."""
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    if not parser.parse(graph):
        complaints = "; ".join(parser.get_error(number).desc() for number in range(parser.num_errors))
        raise ValueError(f"TensorRT does not take the graph: {complaints}")
    return builder, network


def build(trt: Any, builder: Any, network: Any, *, capability: Any = None) -> bytes:
    """The plan, for the GPU of this machine, or for a ``capability`` where there is none (TensorRT-RTX alone).

    Raises ``ValueError`` where TensorRT does not build it; its log says more.
    """
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        rest = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, *((rows, *rest) for rows in ROWS))
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    if capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(capability, 0)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ValueError("TensorRT did not build the plan; its messages are above")
    return bytes(plan)
