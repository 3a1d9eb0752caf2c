"""Runs the HTTP interface in a thread of the node, within bounds that no client can stretch.

The address of a client is that of its connection: X-Forwarded-For is anybody's to write, and the audit trail names
addresses. So behind a proxy it is the proxy's.
"""

import socket
import threading
from collections.abc import Sequence
from typing import Protocol

import structlog
import uvicorn
from fastapi import FastAPI

from dicom_node.errors import ResourceExhausted
from dicom_node.settings import WebSettings
from dicom_node.web.patience import ImpatientProtocol

log = structlog.get_logger(__name__)

GRACE_S = 10
"""For answers on their way when the server stops, once the doors are closed."""
STOP_TIMEOUT_S = 60.0
"""For the doors to close, which waits for disks, and for the answers."""
MOST_CONNECTIONS = 256
"""At once; requests beyond them are answered 503."""


class Door(Protocol):
    """What takes instances by HTTP."""

    async def close(self) -> None:
        """Take nothing more; return when it has been told what became of each request."""
        ...


class _Server(uvicorn.Server):
    """Closes the doors before any connection: a request that is cut by the end of its loop is in no audit trail."""

    def __init__(self, config: uvicorn.Config, doors: Sequence[Door]) -> None:
        super().__init__(config)
        self._doors = doors

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called in the loop by ``serve``; the port still answers, so that new requests hear that the node stops."""
        for door in self._doors:
            await door.close()
        await super().shutdown(sockets)


class WebServer:
    """Uvicorn in a thread. The port is bound by the constructor, so a taken port stops the node at once."""

    def __init__(self, api: FastAPI, settings: WebSettings, *, doors: Sequence[Door] = ()) -> None:
        family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((settings.bind, settings.port))
        except OSError as error:
            self._socket.close()
            raise ResourceExhausted(
                f"web port {settings.bind}:{settings.port} cannot be used ({error.strerror}); "
                "another node may be running: choose another with --web-port"
            ) from error
        self._server = _Server(
            uvicorn.Config(
                api,
                http=ImpatientProtocol,
                ws="none",  # an upgraded connection would leave every deadline behind
                log_config=None,
                access_log=False,
                lifespan="off",
                proxy_headers=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=GRACE_S,
            ),
            doors,
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="web", daemon=True
        )

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Begin to answer. Who connects from now on waits at most until the thread is ready, and is not refused."""
        self._socket.listen()
        self._thread.start()

    def stop(self) -> None:
        """Close the doors, finish the answers under way and stop."""
        self._server.should_exit = True
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            log.error("web_not_stopped", reason="requests do not end: does the disk answer?", waited_s=STOP_TIMEOUT_S)
        self._socket.close()
