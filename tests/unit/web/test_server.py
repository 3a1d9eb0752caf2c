"""The web port: whoever is told that the node has started reaches it, and no client holds it up or poses as another."""

import socket
import time
from collections.abc import Iterator
from http.client import HTTPResponse

import pytest
from fastapi import FastAPI, Request

from dicom_node.settings import WebSettings
from dicom_node.web import patience
from dicom_node.web import server as server_module
from dicom_node.web.server import WebServer

STARTS = 10
HEAD_TIMEOUT_S = 0.6
GET = b"GET /who HTTP/1.1\r\nHost: node\r\n"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that says from where it was asked, and soon loses patience."""
    monkeypatch.setitem(patience.PATIENCE_S, patience.Wait.HEAD, HEAD_TIMEOUT_S)
    monkeypatch.setattr(patience, "LOOK_S", 0.05)
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 4)
    api = FastAPI()

    @api.get("/who")
    async def who(request: Request) -> str:
        await request.body()
        return request.client.host if request.client else ""

    server = WebServer(api, WebSettings(port=0))
    server.start()
    yield server.port
    server.stop()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def ended(connection: socket.socket) -> bool:
    """Whether the server ends the connection without a word."""
    try:
        return connection.recv(4096) == b""
    except ConnectionResetError:
        return True


def test_nobody_is_refused_after_start() -> None:
    for _ in range(STARTS):
        server = WebServer(FastAPI(), WebSettings(port=0))
        server.start()
        socket.create_connection(("127.0.0.1", server.port)).close()
        server.stop()


def test_address_is_that_of_the_connection(port: int) -> None:
    with connected(port) as client:
        client.sendall(GET + b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\r\n")
        assert answer(client) == (200, b'"127.0.0.1"')


@pytest.mark.parametrize("answered_first", [False, True])
def test_head_that_does_not_come_ends_the_connection(port: int, answered_first: bool) -> None:
    with connected(port) as client:
        if answered_first:
            client.sendall(GET + b"\r\n")
            assert answer(client)[0] == 200
        client.sendall(GET)
        started = time.monotonic()
        while time.monotonic() - started < HEAD_TIMEOUT_S / 2:
            client.sendall(b"X: y\r\n")  # a byte now and then does not help
            time.sleep(HEAD_TIMEOUT_S / 10)
        assert answer(client)[0] == 408
        assert ended(client)
        assert time.monotonic() - started < HEAD_TIMEOUT_S * 3


def test_silent_connection_is_ended(port: int) -> None:
    with connected(port) as client:
        assert ended(client)


def test_slow_body_and_idle_pause_are_no_slow_head(port: int) -> None:
    with connected(port) as client:
        client.sendall(GET + b"Content-Length: 2\r\n\r\n")
        time.sleep(HEAD_TIMEOUT_S * 1.5)
        client.sendall(b"ab")
        assert answer(client)[0] == 200
        time.sleep(HEAD_TIMEOUT_S * 1.5)
        client.sendall(GET + b"\r\n")
        assert answer(client)[0] == 200


def test_more_connections_than_there_is_room_for_are_answered_503(port: int) -> None:
    crowd = [connected(port) for _ in range(3)]
    try:
        with connected(port) as late:
            late.sendall(GET + b"\r\n")
            assert answer(late)[0] == 503
    finally:
        for one in crowd:
            one.close()


def test_upgrade_to_a_protocol_without_deadlines_is_not_taken(port: int) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    with connected(port) as client:
        client.sendall(GET + upgrade + b"dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert answer(client)[0] == 200, "the request is answered as if it had not asked"
        client.sendall(GET)
        assert answer(client)[0] == 408
