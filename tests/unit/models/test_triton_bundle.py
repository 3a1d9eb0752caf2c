"""What Triton is told of a model, against the specification and the graph; read with Triton's own protobuf classes."""

import hashlib
from pathlib import Path

import onnx
import pytest
from google.protobuf import json_format, text_format
from onnx import TensorProto
from tritonclient.grpc.model_config_pb2 import ModelConfig

from inference.engines.triton_config import USUAL_BATCH, differences, write_bundle
from inference.model import Model
from inference.models import EVERY_MODEL, MODELS

REPOSITORY = Path(__file__).parents[3] / "triton_models"
CONFIGS = ("config.pbtxt", "configs/cpu.pbtxt")
ONNX_TO_TRITON = {
    TensorProto.FLOAT16: "TYPE_FP16",
    TensorProto.FLOAT: "TYPE_FP32",
    TensorProto.UINT8: "TYPE_UINT8",
    TensorProto.INT32: "TYPE_INT32",
    TensorProto.INT64: "TYPE_INT64",
    TensorProto.BOOL: "TYPE_BOOL",
}
INSTEAD = "run dicom-node models configs"

each_config = pytest.mark.parametrize("name", CONFIGS)


def folder(model: Model) -> Path:
    return REPOSITORY / model.spec.name


def weights(model: Model) -> Path:
    return folder(model) / model.spec.version / "model.onnx"


SHIPPED = [model for model in EVERY_MODEL if weights(model).exists()]
each_model = pytest.mark.parametrize("model", SHIPPED, ids=lambda model: model.spec.name)


def test_a_model_without_weights_has_no_folder() -> None:
    """Triton would not start on a folder without them."""
    assert sorted(path.name for path in REPOSITORY.iterdir() if path.is_dir()) == sorted(
        model.spec.name for model in SHIPPED
    )
    assert {*MODELS} <= {*SHIPPED}


def read_config(path: Path) -> ModelConfig:
    """Fails where Triton would refuse the text."""
    return text_format.Parse(path.read_text(), ModelConfig())


@each_model
@each_config
def test_configuration_graph_and_specification_agree(model: Model, name: str) -> None:
    config = read_config(folder(model) / name)
    assert config.name == folder(model).name == model.spec.name
    graph = onnx.load(weights(model), load_external_data=False).graph
    for told, tensors in ((config.input, graph.input), (config.output, graph.output)):
        assert [(one.name, one.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[one.data_type].name,
                 list(one.dims)) for one in told] == [
            (one.name, ONNX_TO_TRITON[one.type.tensor_type.elem_type],
             [axis.dim_value for axis in one.type.tensor_type.shape.dim][1:])
            for one in tensors
        ]  # fmt: skip
    digest = hashlib.sha256(weights(model).read_bytes()).hexdigest()
    as_served = json_format.MessageToDict(config, preserving_proto_field_name=True)
    assert differences(model.spec, as_served, sha256=digest) == [], INSTEAD
    assert config.dynamic_batching.default_queue_policy.max_queue_size > 0
    (warm_up,) = config.model_warmup
    assert set(warm_up.inputs) == {one.name for one in model.spec.inputs}


@each_model
def test_gpu_and_cpu_differ_in_nothing_that_a_client_sees(model: Model) -> None:
    gpu, cpu = (read_config(folder(model) / name) for name in CONFIGS)
    assert (gpu.platform, cpu.backend) == ("tensorrt_plan", "python")
    for config in (gpu, cpu):
        assert len(config.instance_group) == 1
        for field in ("platform", "backend", "default_model_filename", "instance_group"):
            config.ClearField(field)
        config.model_warmup[0].batch_size = 0
    assert gpu == cpu


@each_model
def test_files_are_what_the_command_writes(model: Model, tmp_path: Path) -> None:
    digest = hashlib.sha256(weights(model).read_bytes()).hexdigest()
    write_bundle(model.spec, tmp_path, sha256=digest)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert written == sorted(Path(name) for name in (*CONFIGS, f"{model.spec.version}/model.py"))
    for name in written:
        assert (folder(model) / name).read_text() == (tmp_path / name).read_text(), INSTEAD


@each_model
def test_the_repository_holds_one_version(model: Model) -> None:
    versions = [path.name for path in folder(model).iterdir() if path.name.isdigit()]
    assert versions == [model.spec.version], "remove the folder of the older version"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("version_policy { specific { versions: [ 99 ] } }", "it serves version 99, not"),
        ("version_policy { latest { num_versions: 1 } }", "it serves version any version, not"),
        ('parameters { key: "sha256" value { string_value: "00" } }', "its weights are 00, not"),
        (f"max_batch_size: {USUAL_BATCH - 1}", "rows at once"),
        ('input { name: "more", data_type: TYPE_FP16, dims: [ 1 ] }', "input more is"),
    ],
)
def test_every_difference_is_told(change: str, said: str) -> None:
    model = MODELS[0]
    digest = hashlib.sha256(weights(model).read_bytes()).hexdigest()
    config = read_config(folder(model) / CONFIGS[0])
    config.MergeFrom(text_format.Parse(change, ModelConfig()))
    if "versions" in change:
        del config.version_policy.specific.versions[:-1]
    (difference,) = differences(
        model.spec, json_format.MessageToDict(config, preserving_proto_field_name=True), sha256=digest
    )
    assert said in difference
