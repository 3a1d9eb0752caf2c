"""A hundred clients that stall, of every kind: a good one stores in seconds; afterwards everything is given back."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import pytest
from fastapi import Response

from dicom_node.web import body as body_module
from dicom_node.web import patience, stow
from dicom_node.web.body import SLOWEST_BYTES, ArrivingBody
from tests.unit.web.stow_port import CONTENT_TYPE, TOKEN, Stow, body, client_of, images

CLIENTS = 100
READERS = 25
"""Each holds an answer of some megabytes."""
WITHIN_S = 3.0
GONE_WITHIN_S = 8.0
PLACES = 4
PERIOD_S = 4.0


def request(path: str = "/dicom-web/studies", *, token: str = TOKEN) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {CONTENT_TYPE}\r\n"
    return f"{head}Content-Length: 1000000\r\n\r\n".encode()


@dataclass(frozen=True, kw_only=True)
class Stall:
    """What a client sends at once, then now and then, and how it may be answered; 0: by the end of the connection."""

    first: bytes
    then: bytes
    again: bool = True
    """Or once."""
    answers: frozenset[int]


TURNED_AWAY = frozenset({408, 503})
KINDS = {
    "silent": Stall(first=b"", then=b"", answers=frozenset({0})),
    "half a head": Stall(first=request()[:40], then=b"", answers=frozenset({408})),
    "a head byte by byte": Stall(first=request()[:-2], then=b"x", answers=frozenset({408})),
    "no body": Stall(first=request(), then=b"", answers=TURNED_AWAY),
    "a body byte by byte": Stall(first=request() + body(*images(1))[:200], then=b"\0", answers=TURNED_AWAY),
    "no body and no token": Stall(first=request(token="x"), then=b"", answers=frozenset({401})),
    "a body byte by byte and no token": Stall(first=request(token="x"), then=b"\0", answers=frozenset({401})),
    "a body after its refusal": Stall(
        first=request(token="x").replace(b"1000000", b"3"), then=b"abc", again=False, answers=frozenset({401})
    ),
    "a body that nobody asked for": Stall(first=request("/nothing"), then=b"\0", answers=frozenset({404})),
}


@pytest.fixture
def port(start: Callable[..., Stow], monkeypatch: pytest.MonkeyPatch) -> Stow:
    """Soon impatient, so that the tests do not take minutes."""
    for wait in (patience.Wait.IDLE, patience.Wait.HEAD, patience.Wait.REST, patience.Wait.READER):
        monkeypatch.setitem(patience.PATIENCE_S, wait, 2.0)
    monkeypatch.setattr(body_module, "PERIOD_S", PERIOD_S)
    monkeypatch.setattr(stow, "GIVE_WAY_S", 0.5)
    monkeypatch.setattr(stow, "SOON", {"Retry-After": "1"})
    return start(maximum_requests=PLACES)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def threads() -> int:
    """Without the pool that takes bodies: it keeps its threads."""
    return sum(not thread.name.startswith(("asyncio", "AnyIO")) for thread in threading.enumerate())


def store_one(port: Stow) -> float:
    """Store as a client that comes again when it is told; how long that took."""
    started = time.monotonic()
    while (answer := port.post(body(*images(1)))).status_code == 503:
        time.sleep(int(answer.headers["Retry-After"]))
    assert answer.status_code == 200, answer.text
    return time.monotonic() - started


def wait_until(satisfied: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not satisfied() and time.monotonic() < deadline:
        time.sleep(0.05)
    return satisfied()


@contextmanager
def stalling(port: Stow, stall: Stall, clients: int = CLIENTS) -> Iterator[list[socket.socket]]:
    """So many clients that stall, until the block ends."""
    stalled = [socket.create_connection(("127.0.0.1", port.port), timeout=10) for _ in range(clients)]
    over = threading.Event()

    def trickle() -> None:
        while not over.wait(0.1 if stall.again else 0.5):  # a refusal is to come before what is sent once
            for one in stalled:
                with contextlib.suppress(OSError):
                    one.send(stall.then)
            if not stall.again:
                return

    trickling = threading.Thread(target=trickle)
    try:
        for one in stalled:
            one.sendall(stall.first)
        trickling.start()
        yield stalled
    finally:
        over.set()
        trickling.join()
        for one in stalled:
            one.close()


def status_heard(client: socket.socket) -> int:
    answer = HTTPResponse(client)
    try:
        answer.begin()
    except (ConnectionError, HTTPException):
        return 0
    return answer.status


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_client_stores_beside_a_hundred_stalled_ones(port: Stow, kind: str) -> None:
    stall = KINDS[kind]
    store_one(port)
    descriptors_before, threads_before = descriptors(), threads()
    with stalling(port, stall) as stalled:
        assert store_one(port) < WITHIN_S
        given_back = descriptors_before + CLIENTS  # their own ends of the connections are left
        assert wait_until(lambda: descriptors() <= given_back, GONE_WITHIN_S), "stalled clients are ended"
        assert store_one(port) < WITHIN_S
        assert {status_heard(one) for one in stalled} <= stall.answers
    assert wait_until(lambda: descriptors() <= descriptors_before and threads() <= threads_before, 2.0)
    assert port.held() == 1


def test_answers_that_nobody_reads_are_thrown_away(port: Stow) -> None:
    large = bytes(6 << 20)  # more than the system holds for a connection

    @port.application.get("/large")
    async def _large() -> Response:
        return Response(large)

    store_one(port)
    before = descriptors()
    stalled = []
    for _ in range(READERS):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", port.port))
        one.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        stalled.append(one)
    try:
        assert store_one(port) < WITHIN_S
        assert wait_until(lambda: descriptors() <= before + READERS, GONE_WITHIN_S)
    finally:
        for one in stalled:
            one.close()
    assert wait_until(lambda: descriptors() <= before, 2.0)


def test_a_crowd_pushes_nobody_out_who_is_reading(port: Stow) -> None:
    large = bytes(12 << 20)

    @port.application.get("/large")
    async def _large() -> Response:
        return Response(large)

    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(10)
        reader.connect(("127.0.0.1", port.port))
        reader.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert reader.recv(1)
        with stalling(port, KINDS["silent"], clients=patience.MOST_WITHOUT_REQUEST + 10):
            time.sleep(0.5)
            came = 0
            while came < len(large):
                block = reader.recv(1 << 20)
                assert block, "the whole answer"
                came += len(block)


def test_more_silent_clients_than_there_is_room_for_push_each_other_out(port: Stow) -> None:
    store_one(port)
    with stalling(port, KINDS["silent"], clients=3 * patience.MOST_WITHOUT_REQUEST):
        port.client.close()
        with client_of(port.port) as fresh:
            assert fresh.get("/nothing").status_code == 404
            assert fresh.get("/nothing").status_code == 404, "in the same connection"


def read(stream: AsyncIterator[bytes], *, taken_in_s: float = 0.0) -> list[int]:
    """The sizes of the blocks."""

    async def reading() -> list[int]:
        sizes = []
        async for block in ArrivingBody().blocks(stream):
            sizes.append(len(block))
            await asyncio.sleep(taken_in_s)
        return sizes

    return asyncio.run(reading())


async def pieces(*pieces: tuple[int, float]) -> AsyncIterator[bytes]:
    """So many bytes, each after so many seconds."""
    for size, pause_s in pieces:
        await asyncio.sleep(pause_s)
        yield bytes(size)


def test_a_body_that_keeps_the_pace_may_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "PERIOD_S", 0.4)
    assert sum(read(pieces(*[(SLOWEST_BYTES // 2, 0.1)] * 10))) == 5 * SLOWEST_BYTES


def test_bytes_that_came_fast_buy_no_time_for_trickling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "PERIOD_S", 0.4)
    with pytest.raises(TimeoutError):
        read(pieces((100 * SLOWEST_BYTES, 0), *[(1, 0.05)] * 20))


def test_a_slow_disk_is_not_the_senders_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "PERIOD_S", 0.3)
    monkeypatch.setattr(body_module, "BLOCK_BYTES", 1000)
    assert read(pieces(*[(1000, 0.01)] * 3), taken_in_s=0.4) == [1000, 1000, 1000, 0]


def test_no_body_takes_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "LONGEST_S", 0.5)
    with pytest.raises(TimeoutError):
        read(pieces(*[(SLOWEST_BYTES, 0.05)] * 20))
