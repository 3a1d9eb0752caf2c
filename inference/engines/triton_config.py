"""The two Triton configurations of a model, from its specification; and what a server's configuration must hold.

``config.pbtxt`` serves a TensorRT plan on a GPU; ``configs/cpu.pbtxt`` (``--model-config-name=cpu``) serves the ONNX
file through the Python backend and our own embedded engine. Names, types and shapes are the same in both, so that a
client cannot tell which one answers. Both carry the SHA-256 of ``model.onnx`` as a parameter: the Python backend
refuses other weights, and the client compares it with its own bundle. Knows the text format of Triton's
``model_config.proto``, no network and no protobuf library.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference.model import ModelSpec, TensorSpec

LARGEST_BATCH = 32
"""Rows (slices) that the server takes at once; also the largest batch of a TensorRT plan's profile."""
USUAL_BATCH = 16
"""Rows in one request of our client, and what a plan is tuned for. Measured: 8 to 32 cost the least a slice."""
LONGEST_QUEUE = 64
"""Requests that wait; more are answered UNAVAILABLE at once, which clients try again."""
LONGEST_WAIT_S = 600
"""In the queue, where a client does not say less. A client's own limit counts only below this one, so there has to be
one: without it a request whose client has gone stays in the queue."""
DIGEST_PARAMETER = "sha256"
"""Name of the parameter that holds the digest of ``model.onnx``."""
MODEL_SHELL = (
    '"""Triton\'s Python backend runs this file; see the module that it imports."""\n\n'
    "from inference.engines.triton_backend import TritonPythonModel\n\n"
    '__all__ = ["TritonPythonModel"]\n'
)
"""``<version>/model.py`` of every model."""

TRITON_TYPES: Mapping[str, str] = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
}
"""NumPy's name of a type: Triton's."""


def gpu_config(spec: ModelSpec, *, sha256: str) -> str:
    """``config.pbtxt``: a TensorRT plan, built on the GPU that serves it from the ONNX file of that digest."""
    return _config(
        spec,
        sha256,
        head='platform: "tensorrt_plan"\ndefault_model_filename: "model.plan"\n',
        instances="instance_group [ { count: 1, kind: KIND_GPU } ]\n",
        warm_rows=USUAL_BATCH,
    )


def cpu_config(spec: ModelSpec, *, sha256: str) -> str:
    """``configs/cpu.pbtxt``: our embedded engine in Triton's Python backend."""
    return _config(
        spec,
        sha256,
        head='backend: "python"\n',
        # One instance: a call uses every core already, and two of one thread lose to one of two.
        instances="instance_group [ { count: 1, kind: KIND_CPU } ]\n",
        warm_rows=1,  # it computes in batches of its own size, whatever is asked
    )


def write_bundle(spec: ModelSpec, folder: Path, *, sha256: str) -> None:
    """Both configurations and the Python backend's file into the model's folder of a repository.

    ``sha256``: digest of its ``model.onnx``, which stays as it is.
    """
    for name, text in (
        ("config.pbtxt", gpu_config(spec, sha256=sha256)),
        ("configs/cpu.pbtxt", cpu_config(spec, sha256=sha256)),
        (f"{spec.version}/model.py", MODEL_SHELL),
    ):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def differences(spec: ModelSpec, config: Mapping[str, Any], *, sha256: str) -> list[str]:
    """How a server's configuration differs from the specification; empty where it fits.

    ``config``: ``ModelConfig`` as JSON with the proto's own field names, as ``get_model_config`` gives it.
    """
    wrong = []
    versions = config.get("version_policy", {}).get("specific", {}).get("versions", [])
    if [str(version) for version in versions] != [spec.version]:
        served = ", ".join(str(version) for version in versions) or "any version"
        wrong.append(f"it serves version {served}, not {spec.version}")
    stated = config.get("parameters", {}).get(DIGEST_PARAMETER, {}).get("string_value", "")
    if stated != sha256:
        wrong.append(f"its weights are {stated[:16] or 'of no stated digest'}, not {sha256[:16]}")
    if int(config.get("max_batch_size", 0)) < USUAL_BATCH:
        wrong.append(f"it takes {config.get('max_batch_size', 0)} rows at once, not {USUAL_BATCH}")
    for kind, wanted in (("input", spec.inputs), ("output", spec.outputs)):
        found = {
            one["name"]: (one.get("data_type"), [int(axis) for axis in one.get("dims", [])])
            for one in config.get(kind, [])
        }
        expected = {one.name: (TRITON_TYPES[one.dtype], list(one.shape)) for one in wanted}
        wrong += [
            f"{kind} {name} is {found.get(name, 'missing')} instead of {expected.get(name, 'none')}"
            for name in sorted(found.keys() | expected.keys())
            if found.get(name) != expected.get(name)
        ]
    return wrong


def _config(spec: ModelSpec, sha256: str, *, head: str, instances: str, warm_rows: int) -> str:
    return (
        "# Written by `dicom-node models configs` from the model's specification; a test holds them together.\n"
        f'name: "{spec.name}"\n'
        f"{head}"
        f"max_batch_size: {LARGEST_BATCH}\n"
        f"{_tensors('input', spec.inputs)}"
        f"{_tensors('output', spec.outputs)}"
        f"version_policy {{ specific {{ versions: [ {spec.version} ] }} }}\n"
        f"{instances}"
        # No queue delay: it would be added in full to the requests of a lone study.
        "dynamic_batching {\n"
        f"  preferred_batch_size: [ {USUAL_BATCH}, {LARGEST_BATCH} ]\n"
        "  default_queue_policy {\n"
        f"    default_timeout_microseconds: {LONGEST_WAIT_S * 10**6}\n"
        "    allow_timeout_override: true\n"
        f"    max_queue_size: {LONGEST_QUEUE}\n"
        "  }\n"
        "}\n"
        f"{_warm_up(spec, warm_rows)}"
        f'parameters {{ key: "{DIGEST_PARAMETER}" value {{ string_value: "{sha256}" }} }}\n'
    )


def _tensors(kind: str, tensors: tuple[TensorSpec, ...]) -> str:
    rows = ",\n".join(
        f'  {{ name: "{one.name}", data_type: {TRITON_TYPES[one.dtype]}, dims: [ {_dims(one)} ] }}' for one in tensors
    )
    return f"{kind} [\n{rows}\n]\n"


def _warm_up(spec: ModelSpec, rows: int) -> str:
    inputs = "\n".join(
        f'  inputs {{ key: "{one.name}" value {{ data_type: {TRITON_TYPES[one.dtype]}, dims: [ {_dims(one)} ], '
        "zero_data: true } }"
        for one in spec.inputs
    )
    return f'model_warmup {{\n  name: "empty slices"\n  batch_size: {rows}\n{inputs}\n}}\n'


def _dims(tensor: TensorSpec) -> str:
    return ", ".join(str(length) for length in tensor.shape)
