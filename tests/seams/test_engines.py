"""One suite for every engine: what ``inference.engines.base.Engine`` promises.

A further engine joins with one line in ``ENGINES``: a function from a model repository to an engine. Triton's is a real
server; what a repository holds is copied to its own and loaded there when the engine is made.
"""

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton_grpc
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from dicom_node.demonstration.triton_server import TritonServer
from inference.engines.base import WELL, Engine, EngineError
from inference.engines.embedded import EmbeddedEngine
from inference.engines.triton import TritonEngine
from inference.engines.triton_config import write_bundle
from inference.model import ModelSpec, TensorSpec

SHAPE = (1, 16, 12)
SPEC = ModelSpec(
    name="threshold",
    version="3",
    inputs=(TensorSpec(name="hu", dtype="float16", shape=SHAPE),),
    outputs=(TensorSpec(name="labels", dtype="uint8", shape=SHAPE),),
    labels=("background", "dense"),
    source="made in this test",
    trained_on="nothing",
    licence="Apache-2.0",
)

MakeEngine = Callable[[Path], Engine]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A real server with an empty repository."""
    folder = tmp_path_factory.mktemp("triton")
    (folder / "models").mkdir()
    with TritonServer(folder, folder / "models") as started:
        yield started


def _embedded(repository: Path, _: TritonServer) -> Engine:
    return EmbeddedEngine(repository=repository, threads=1)


def _triton(repository: Path, server: TritonServer) -> Engine:
    ours, served = repository / SPEC.name, server.log.parent / "models" / SPEC.name
    shutil.rmtree(served, ignore_errors=True)
    if ours.exists():
        shutil.copytree(ours, served)
        digest = hashlib.sha256((ours / SPEC.version / "model.onnx").read_bytes()).hexdigest()
        write_bundle(SPEC, served, sha256=digest)
    with triton_grpc.InferenceServerClient(server.address) as client, suppress(InferenceServerException):
        client.unload_model(SPEC.name)
        client.load_model(SPEC.name)  # where it cannot be loaded, the engine has to say so
    return TritonEngine(repository=repository, addresses=[server.address])


ENGINES: dict[str, Callable[[Path, TritonServer], Engine]] = {"embedded": _embedded, "triton": _triton}
FILE_IS_ELSEWHERE = ("triton",)
"""A damaged file there may be mended while a study waits: not an error for good."""


def _write_model(repository: Path, *, output_name: str = "labels", output_type: int = TensorProto.UINT8) -> Path:
    """A model that labels what is above 100; as the real ones: float16 in, uint8 out, free batch axis."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["hu"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Greater", ["wide", "limit"], ["dense"]),
            helper.make_node("Cast", ["dense"], [output_name], to=output_type),
        ],
        "threshold",
        [helper.make_tensor_value_info("hu", TensorProto.FLOAT16, ["slices", *SHAPE])],
        [helper.make_tensor_value_info(output_name, output_type, ["slices", *SHAPE])],
        [helper.make_tensor("limit", TensorProto.FLOAT, [], [100.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = repository / SPEC.name / SPEC.version / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def permanent(make_engine: MakeEngine, request: pytest.FixtureRequest) -> bool:
    return request.node.callspec.params["make_engine"] not in FILE_IS_ELSEWHERE


@pytest.fixture(params=sorted(ENGINES))
def make_engine(request: pytest.FixtureRequest, server: TritonServer) -> Iterator[MakeEngine]:
    started: list[Engine] = []

    def make(repository: Path) -> Engine:
        started.append(ENGINES[request.param](repository, server))
        return started[-1]

    yield make
    for engine in started:
        engine.close()


def _slices(count: int) -> np.ndarray:
    values = np.random.default_rng(count).uniform(-1000, 1000, (count, *SHAPE))
    return values.astype(np.float16)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 21])
def test_outputs_come_for_every_slice_in_order(make_engine: MakeEngine, tmp_path: Path, count: int) -> None:
    _write_model(tmp_path)
    hu = _slices(count)

    outputs = make_engine(tmp_path).run(SPEC, {"hu": hu})

    assert outputs["labels"].dtype == np.uint8
    assert np.array_equal(outputs["labels"], (hu > 100).astype(np.uint8))


def test_a_slice_of_a_larger_array_is_taken_as_it_is(make_engine: MakeEngine, tmp_path: Path) -> None:
    _write_model(tmp_path)
    hu = _slices(10)[::2]
    outputs = make_engine(tmp_path).run(SPEC, {"hu": hu})
    assert np.array_equal(outputs["labels"], (hu > 100).astype(np.uint8))


def test_identity_names_the_weights_by_their_digest(make_engine: MakeEngine, tmp_path: Path) -> None:
    path = _write_model(tmp_path)
    identity = make_engine(tmp_path).identity(SPEC)
    assert (identity.name, identity.version, identity.trained_on) == ("threshold", "3", "nothing")
    assert identity.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_identity_is_of_what_runs_even_when_the_file_is_replaced(make_engine: MakeEngine, tmp_path: Path) -> None:
    path = _write_model(tmp_path)
    engine = make_engine(tmp_path)
    before = engine.identity(SPEC)
    path.write_bytes(b"replaced while the node runs")

    hu = _slices(3)
    assert np.array_equal(engine.run(SPEC, {"hu": hu})["labels"], (hu > 100).astype(np.uint8))
    assert engine.identity(SPEC) == before


def test_threads_may_share_an_engine(make_engine: MakeEngine, tmp_path: Path) -> None:
    _write_model(tmp_path)
    engine = make_engine(tmp_path)
    results: dict[int, bool] = {}

    def work(number: int) -> None:
        hu = _slices(20 + number)
        results[number] = np.array_equal(engine.run(SPEC, {"hu": hu})["labels"], (hu > 100).astype(np.uint8))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(6), True)


def test_cancelling_between_batches_is_transient(make_engine: MakeEngine, tmp_path: Path) -> None:
    _write_model(tmp_path)
    asked = []

    def cancelled() -> bool:
        asked.append(True)
        return len(asked) > 2

    with pytest.raises(EngineError, match="cancelled") as raised:
        make_engine(tmp_path).run(SPEC, {"hu": _slices(100)}, cancelled=cancelled)
    assert raised.value.transient
    assert len(asked) == 3


def test_a_missing_model_is_named_with_what_to_do(make_engine: MakeEngine, tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    for call in (lambda: engine.identity(SPEC), lambda: engine.run(SPEC, {"hu": _slices(1)})):
        with pytest.raises(EngineError, match=r"threshold: cannot read .*model\.onnx.*models verify") as raised:
            call()
        assert not raised.value.transient


@pytest.mark.parametrize("kept", [0, 40, -20])
def test_a_damaged_model_is_named_with_what_to_do(
    make_engine: MakeEngine, permanent: bool, tmp_path: Path, kept: int
) -> None:
    path = _write_model(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(EngineError, match=r"threshold: .*models verify") as raised:
        make_engine(tmp_path).run(SPEC, {"hu": _slices(1)})
    assert raised.value.transient is not permanent


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"output_name": "mask"}, "no output named labels"),
        ({"output_type": TensorProto.FLOAT}, "output labels is float32"),
    ],
)
def test_a_model_with_other_tensors_is_refused(
    make_engine: MakeEngine, permanent: bool, tmp_path: Path, changed: dict, said: str
) -> None:
    _write_model(tmp_path, **changed)
    with pytest.raises(EngineError, match=said) as raised:
        make_engine(tmp_path).run(SPEC, {"hu": _slices(1)})
    assert raised.value.transient is not permanent


def test_a_lone_engine_is_well(make_engine: MakeEngine, tmp_path: Path) -> None:
    _write_model(tmp_path)
    assert make_engine(tmp_path).health() == WELL


def test_inputs_of_another_form_are_a_mistake_of_the_caller(make_engine: MakeEngine, tmp_path: Path) -> None:
    _write_model(tmp_path)
    engine = make_engine(tmp_path)
    with pytest.raises(ValueError, match="not float16"):
        engine.run(SPEC, {"hu": _slices(2).astype(np.float32)})


def test_the_model_of_this_suite_is_valid_onnx(tmp_path: Path) -> None:
    onnx.checker.check_model(onnx.load(_write_model(tmp_path)))
