"""Requests that the node ends: at its stop, for another sender, at a deadline. What came is stored, and told."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from http.client import HTTPResponse

import pytest

from dicom_node.association import AssociationEvent, EventKind
from dicom_node.web import body as body_module
from dicom_node.web import stow as stow_module
from dicom_node.web.body import ArrivingBody, BodyGivenUp
from tests.unit.web.stow_port import CONTENT_TYPE, PART, TOKEN, Stow, body, images

SENT = 40
STEP_BYTES = 2048
PAUSE_S = 0.1
"""With ``STEP_BYTES``: 20 KiB/s."""


def head(length: int) -> bytes:
    return (
        f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def connected(port: Stow, content: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port.port), timeout=10)
    connection.sendall(content)
    return connection


def answer(connection: socket.socket) -> HTTPResponse:
    response = HTTPResponse(connection)
    response.begin()
    return response


def new(events: list[AssociationEvent]) -> int:
    """Instances that the trail is told of."""
    return sum(brought.new.total() for event in events for brought in event.studies.values())


def test_stop_in_the_middle_of_an_upload_tells_the_trail_of_every_instance(start: Callable[..., Stow]) -> None:
    told: list[AssociationEvent] = []
    stow = start(told=told)
    whole = body(*images(SENT))
    sender = connected(stow, head(len(whole) * 1000))
    over = threading.Event()

    def send_on() -> None:
        with contextlib.suppress(OSError):
            sender.sendall(whole[: -len(b"--\r\n")] + b"\r\n" + PART)
            while not over.wait(0.01):
                sender.sendall(bytes(64 * 1024))

    sending = threading.Thread(target=send_on)
    sending.start()
    while not stow.held():
        time.sleep(0.01)
    started = time.monotonic()
    stow.server.stop()
    took_s = time.monotonic() - started
    over.set()
    sending.join()
    sender.close()
    assert took_s < 5.0, "not as long as the sender likes"
    assert [(event.kind, event.reason) for event in told] == [(EventKind.ABORTED, "the node is stopping")]
    assert new(told) == stow.held() > 0


def test_an_idle_sender_hears_that_the_node_stops(start: Callable[..., Stow]) -> None:
    told: list[AssociationEvent] = []
    stow = start(told=told)
    whole = body(*images(2))
    with connected(stow, head(len(whole)) + whole[:-10]) as sender:
        time.sleep(0.5)
        stow.server.stop()
        response = answer(sender)
    assert (response.status, response.getheader("Retry-After")) == (503, "5")
    assert new(told) == stow.held() == 1, "the first was whole, though no thread had been given it"


def test_a_sender_that_leaves_keeps_what_was_whole(start: Callable[..., Stow]) -> None:
    told: list[AssociationEvent] = []
    stow = start(told=told)
    whole = body(*images(3))
    with connected(stow, head(len(whole)) + whole[:-300]):
        time.sleep(0.3)
    deadline = time.monotonic() + 10
    while not told and time.monotonic() < deadline:
        time.sleep(0.02)
    assert new(told) == stow.held() == 2


def test_slow_and_steady_senders_keep_their_places(start: Callable[..., Stow], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stow_module, "GIVE_WAY_S", 0.5)
    stow = start(maximum_requests=2)
    file = body(*images(1))
    senders = [connected(stow, head(1 << 20) + file[:100]) for _ in range(2)]
    statuses = []
    for step in range(20):
        time.sleep(PAUSE_S)
        for one in senders:
            one.sendall(bytes(STEP_BYTES))
        if step > 10:
            statuses.append(stow.post(file).status_code)
    assert set(statuses) == {503}
    for one in senders:
        one.settimeout(0.1)
        with pytest.raises(TimeoutError):
            one.recv(1)
        one.close()


def test_a_stalled_sender_loses_its_place_and_is_asked_to_come_again(
    start: Callable[..., Stow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stow_module, "GIVE_WAY_S", 0.5)
    stow = start(maximum_requests=1)
    file = body(*images(1))
    with connected(stow, head(1 << 20) + file[:100]) as stalled:
        time.sleep(1.0)
        assert stow.post(file).status_code == 200
        response = answer(stalled)
        assert (response.status, response.getheader("Retry-After")) == (503, "5")


async def drip(*pieces: bytes) -> AsyncIterator[bytes]:
    """The pieces, then nothing for ever."""
    for piece in pieces:
        yield piece
    await asyncio.Event().wait()


def test_what_came_before_the_deadline_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "PERIOD_S", 0.1)
    came = []

    async def reading() -> None:
        async for block in ArrivingBody().blocks(drip(b"ab", b"c")):
            came.append(block)

    with pytest.raises(TimeoutError):
        asyncio.run(reading())
    assert came == [b"abc"]


def test_giving_up_in_the_moment_of_the_deadline_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the timer and the task that it ends."""
    monkeypatch.setattr(body_module, "PERIOD_S", 0.1)
    given_up = []

    async def reading() -> None:
        arriving, loop = ArrivingBody(), asyncio.get_running_loop()

        def give_up() -> None:
            arriving.give_up("stalled")
            given_up.append(True)

        loop.call_later(0.05, time.sleep, 0.2)  # both timers are due when it returns
        loop.call_later(0.15, give_up)
        async for _ in arriving.blocks(drip()):
            pass

    with pytest.raises(BodyGivenUp, match="stalled"):
        asyncio.run(reading())
    assert given_up


def test_giving_up_between_two_reads_is_kept_in_mind() -> None:
    async def reading() -> None:
        arriving = ArrivingBody()
        async for _ in arriving.blocks(drip(bytes(body_module.BLOCK_BYTES))):
            arriving.give_up("the node is stopping")

    with pytest.raises(BodyGivenUp):
        asyncio.run(asyncio.wait_for(reading(), 5))
