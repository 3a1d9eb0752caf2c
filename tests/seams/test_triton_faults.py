"""What can go wrong with a Triton server, on real ones: killed, stopped, slow, full, of another version, behind TLS."""

import hashlib
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from dicom_node.demonstration.orthanc import free_port
from dicom_node.demonstration.triton_server import TritonServer
from inference.engines.base import WELL, EngineError, EngineUnavailable
from inference.engines.triton import TritonEngine
from inference.engines.triton_config import USUAL_BATCH, write_bundle
from inference.engines.triton_peer import CallFailed, Tls, TritonPeer, scrubbed
from inference.model import ModelSpec, Tensors, TensorSpec

SPEC = ModelSpec(
    name="threshold",
    version="3",
    inputs=(TensorSpec(name="hu", dtype="float16", shape=(64,)),),
    outputs=(TensorSpec(name="labels", dtype="uint8", shape=(64,)),),
    labels=("background", "dense"),
    source="made in this test",
    trained_on="nothing",
    licence="Apache-2.0",
)
WEIGHTS = b"of a model whose file nobody reads"
MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        hu = pb_utils.get_input_tensor_by_name(request, "hu").as_numpy()
        time.sleep(SECONDS)
        if np.isnan(hu).any():
            raise ValueError("cannot read /srv/secret/model.onnx")
        return pb_utils.InferenceResponse([pb_utils.Tensor("labels", (hu > 100).astype(np.uint8))])
"""
"""Without OpenVINO, because these tests are about the way, not the model. SECONDS is filled in."""

MakeServer = Callable[..., TritonServer]


def write_model(
    repository: Path, spec: ModelSpec = SPEC, *, seconds: float = 0.0, weights: bytes = WEIGHTS, queue_size: int = 64
) -> ModelSpec:
    folder = repository / spec.name
    write_bundle(spec, folder, sha256=hashlib.sha256(weights).hexdigest())
    (folder / spec.version / "model.onnx").write_bytes(weights)
    (folder / spec.version / "model.py").write_text(MODEL.replace("SECONDS", str(seconds)))
    config = folder / "configs" / "cpu.pbtxt"
    config.write_text(config.read_text().replace("max_queue_size: 64", f"max_queue_size: {queue_size}"))
    return spec


def slices(rows: int, spec: ModelSpec = SPEC) -> dict[str, np.ndarray]:
    hu = np.random.default_rng(rows).uniform(-1000, 1000, (rows, *spec.inputs[0].shape))
    return {"hu": hu.astype(np.float16)}


def right(outputs: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> bool:
    return np.array_equal(outputs["labels"], (inputs["hu"] > 100).astype(np.uint8))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def make_server(tmp_path: Path, repository: Path) -> Iterator[MakeServer]:
    started: list[TritonServer] = []

    def make(**options: object) -> TritonServer:
        started.append(TritonServer(tmp_path / f"triton{len(started)}", repository, **options))
        started[-1].start()
        return started[-1]

    yield make
    for server in started:
        server.kill()  # an orderly end waits for dead backends


def engine_for(repository: Path, *servers: TritonServer, call_timeout_s: float = 20.0) -> TritonEngine:
    return TritonEngine(
        repository=repository, addresses=[server.address for server in servers], call_timeout_s=call_timeout_s
    )


def test_a_killed_server_is_told_and_found_again(repository: Path, make_server: MakeServer) -> None:
    write_model(repository, seconds=0.05)
    server = make_server()
    engine, inputs = engine_for(repository, server), slices(20 * USUAL_BATCH)
    threading.Timer(0.3, server.kill).start()
    with pytest.raises(EngineUnavailable, match=r"no Triton server can be used: .*refused"):
        engine.run(SPEC, inputs)
    assert "refused" in engine.health()
    started = time.monotonic()
    with pytest.raises(EngineUnavailable):
        engine.run(SPEC, inputs)
    assert time.monotonic() - started < 3, "an absent server is told at once"

    server.start()
    deadline = time.monotonic() + 15  # its rest, and gRPC's own back-off
    while engine.health() != WELL and time.monotonic() < deadline:
        time.sleep(0.1)
    assert right(engine.run(SPEC, inputs), inputs)


def test_a_dead_backend_is_loaded_anew_under_load(repository: Path, make_server: MakeServer) -> None:
    write_model(repository, seconds=0.02)
    server = make_server()
    engine, inputs = engine_for(repository, server), slices(30 * USUAL_BATCH)
    threading.Timer(0.2, server.kill_backend, [SPEC.name]).start()
    assert right(engine.run(SPEC, inputs), inputs)
    assert server.log.read_text().count("successfully loaded 'threshold'") == 2


def test_a_server_that_may_not_load_models_is_told_of(repository: Path, make_server: MakeServer) -> None:
    write_model(repository)
    server = make_server(may_load=False)
    engine = engine_for(repository, server)
    assert engine.identity(SPEC).digest == hashlib.sha256(WEIGHTS).hexdigest()
    server.kill_backend(SPEC.name)
    with pytest.raises(EngineUnavailable, match=r"dead on .*Restart that server"):
        engine.run(SPEC, slices(1))


def test_a_slow_model_meets_its_deadline_and_can_be_cancelled(repository: Path, make_server: MakeServer) -> None:
    write_model(repository, seconds=2.0)
    server = make_server()
    started = time.monotonic()
    with pytest.raises(EngineError, match=r"did not answer on .* within 1 s") as raised:
        engine_for(repository, server, call_timeout_s=1.0).run(SPEC, slices(1))
    assert raised.value.transient
    assert not isinstance(raised.value, EngineUnavailable), "a study that is too slow must not wait for ever"
    asked_at = time.monotonic()
    assert asked_at - started < 2
    with pytest.raises(EngineError, match="cancelled"):
        engine_for(repository, server).run(
            SPEC, slices(5 * USUAL_BATCH), cancelled=lambda: time.monotonic() > asked_at + 0.5
        )
    assert time.monotonic() - asked_at < 1.5


def test_a_request_leaves_the_servers_queue_when_its_time_is_up(repository: Path, make_server: MakeServer) -> None:
    """Also where its client cannot take it back any more: nobody waits for it, and others do."""
    write_model(repository, seconds=1.0)
    server = make_server()
    given = slices(1)["hu"]
    tensor = triton_grpc.InferInput("hu", list(given.shape), "FP16")
    tensor.set_data_from_numpy(given)
    ended: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    with triton_grpc.InferenceServerClient(server.address) as client:
        for name, timeout_us in (("first", None), ("second", 100_000), ("third", None)):
            client.async_infer(
                SPEC.name,
                [tensor],
                timeout=timeout_us,
                callback=lambda result, error, name=name: ended.put((name, "" if error is None else str(error))),
            )
            time.sleep(0.2)
        answers = dict(ended.get(timeout=20) for _ in range(3))
    assert "timeout" in answers["second"].lower()
    assert (answers["first"], answers["third"]) == ("", "")


def test_a_full_queue_is_waited_for(repository: Path, make_server: MakeServer) -> None:
    write_model(repository, seconds=0.1, queue_size=1)
    server = make_server()
    peer = TritonPeer(server.address, tls=None, call_timeout_s=20)
    answers: queue.SimpleQueue[Tensors | CallFailed] = queue.SimpleQueue()
    for number in range(12):
        peer.start(SPEC, slices(USUAL_BATCH), request_id=str(number), done=answers.put)
    refused = [answer for answer in (answers.get() for _ in range(12)) if isinstance(answer, CallFailed)]
    assert refused
    assert all(answer.queue_is_full for answer in refused)
    engine, found = engine_for(repository, server), []

    def work(rows: int) -> None:
        inputs = slices(rows)
        found.append(right(engine.run(SPEC, inputs), inputs))

    threads = [threading.Thread(target=work, args=(4 * USUAL_BATCH + number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 3


def test_another_version_or_other_weights_are_not_asked(repository: Path, make_server: MakeServer) -> None:
    write_model(repository)
    server = make_server()
    ours = repository.with_name("ours")
    write_model(ours, replace(SPEC, version="4"))
    newer = engine_for(ours, server)
    with pytest.raises(EngineUnavailable, match="does not serve version 4"):
        newer.run(replace(SPEC, version="4"), slices(1))
    assert "does not serve version 4" in newer.health()

    write_model(ours, weights=b"other weights")
    other = engine_for(ours, server)
    with pytest.raises(EngineUnavailable, match=r"serves another model: its weights are"):
        other.identity(SPEC)
    assert "its weights are" in other.health()
    assert "its weights are" in other.health([SPEC])
    assert other.health([replace(SPEC, name="another")]) == WELL, "studies that need other models do not wait"
    write_model(repository, weights=b"other weights")
    with triton_grpc.InferenceServerClient(server.address) as client:
        client.load_model(SPEC.name)
    assert other.health() == WELL, "it is noticed without a study"


def test_messages_of_more_than_four_megabytes(repository: Path, make_server: MakeServer) -> None:
    side = 1024
    large = replace(
        SPEC,
        inputs=(TensorSpec(name="hu", dtype="float16", shape=(side, side)),),
        outputs=(TensorSpec(name="labels", dtype="uint8", shape=(side, side)),),
    )
    write_model(repository, large)
    inputs = slices(USUAL_BATCH, large)
    assert inputs["hu"].nbytes == 32 * 1024 * 1024
    assert right(engine_for(repository, make_server()).run(large, inputs), inputs)


def test_two_servers_share_the_work_and_one_does_it_alone(repository: Path, make_server: MakeServer) -> None:
    write_model(repository, seconds=0.02)
    servers = [make_server(), make_server()]
    engine, inputs = engine_for(repository, *servers), slices(40 * USUAL_BATCH)
    assert right(engine.run(SPEC, inputs), inputs)
    for server in servers:
        with triton_grpc.InferenceServerClient(server.address) as client:
            (statistics,) = client.get_inference_statistics(SPEC.name).model_stats
            assert statistics.inference_stats.success.count >= 10
    threading.Timer(0.2, servers[0].kill).start()
    assert right(engine.run(SPEC, inputs), inputs)
    assert engine.health() == WELL


def test_a_stopped_server_is_told_within_seconds(repository: Path, make_server: MakeServer) -> None:
    write_model(repository)
    server = make_server()
    engine = engine_for(repository, server)
    assert engine.health() == WELL
    server.pause()
    started = time.monotonic()
    assert "Deadline Exceeded" in engine.health()
    assert time.monotonic() - started < 5
    server.resume()
    assert engine.health() == WELL


def test_a_failing_request_is_told_without_the_servers_paths(repository: Path, make_server: MakeServer) -> None:
    write_model(repository)
    inputs = {"hu": np.full((1, 64), np.nan, np.float16)}
    with pytest.raises(EngineError, match=r"threshold failed on .*cannot read …") as raised:
        engine_for(repository, make_server()).run(SPEC, inputs)
    assert raised.value.transient
    assert "/" not in str(raised.value).replace("127.0.0.1", "")
    assert not isinstance(raised.value, EngineUnavailable)


def test_tls(repository: Path, make_server: MakeServer, tmp_path: Path) -> None:
    write_model(repository)
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "1",
         "-subj", "/CN=triton", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    server = make_server(
        options=["--grpc-use-ssl=true", f"--grpc-server-cert={certificate}", f"--grpc-server-key={key}",
                 f"--grpc-root-cert={certificate}"]
    )  # fmt: skip
    known = TritonEngine(repository=repository, addresses=[server.address], tls=Tls(ca=certificate))
    inputs = slices(3)
    assert right(known.run(SPEC, inputs), inputs)
    for wrong in (None, Tls()):
        stranger = TritonEngine(repository=repository, addresses=[server.address], tls=wrong)
        with pytest.raises(EngineUnavailable):
            stranger.run(SPEC, inputs)
    with pytest.raises(EngineError, match=r"cannot read .*absent\.pem"):
        TritonEngine(repository=repository, addresses=[server.address], tls=Tls(ca=tmp_path / "absent.pem"))


def test_nothing_listens(repository: Path) -> None:
    write_model(repository)
    engine = TritonEngine(repository=repository, addresses=[f"127.0.0.1:{free_port()}"])
    with pytest.raises(EngineUnavailable, match="no Triton server can be used"):
        engine.identity(SPEC)


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("Internal: TritonModelException: it is damaged\n\nAt:\n  /srv/a/model.py(3): load\n", "it is damaged"),
        ("failed to open '/srv/models/x/1/model.plan' for reading", "failed to open '…' for reading"),
        ("ValueError: no\nTraceback (most recent call last): /a/b", "ValueError: no"),
    ],
)
def test_what_is_kept_of_a_servers_message(message: str, kept: str) -> None:
    assert scrubbed(message) == kept
