"""What a Triton server may answer beside the truth, by a gRPC server of the same protocol that lies."""

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference.engines.triton_peer import CallFailed, TritonPeer
from inference.models import LungsUnet
from inference.models.slice_preparation import INPUT, OUTPUT, SIZE_PX

PATIENCE_S = 20.0


class Liar(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Is not live, and states a shape that it sends too few bytes for."""

    def ServerLive(self, _request: object, _context: object) -> object:  # noqa: N802 - the protocol's name
        return service_pb2.ServerLiveResponse(live=False)

    def ModelInfer(self, request: object, _context: object) -> object:  # noqa: N802 - the protocol's name
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
        answer.outputs.add(name=OUTPUT.name, datatype="UINT8", shape=[1, SIZE_PX, SIZE_PX])
        answer.raw_output_contents.append(b"\0\0")
        return answer


@pytest.fixture
def peer() -> Iterator[TritonPeer]:
    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Liar(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    peer = TritonPeer(f"127.0.0.1:{port}", tls=None, call_timeout_s=PATIENCE_S)
    yield peer
    peer.close()
    server.stop(None)


def test_an_answer_that_cannot_be_read_is_a_failure_and_no_silence(peer: TritonPeer) -> None:
    answers: queue.Queue[object] = queue.Queue()
    slices = np.zeros((1, *INPUT.shape), INPUT.dtype)
    peer.start(LungsUnet().spec, {INPUT.name: slices}, request_id="1", done=answers.put)
    answer = answers.get(timeout=PATIENCE_S)
    assert isinstance(answer, CallFailed)
    assert "cannot be read" in str(answer)


def test_a_server_that_is_not_live_is_told(peer: TritonPeer) -> None:
    with pytest.raises(CallFailed, match="not live"):
        peer.ask_whether_live()
