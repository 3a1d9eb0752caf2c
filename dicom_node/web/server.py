"""Runs the HTTP interface in a thread of the node, within bounds that no client can stretch.

The address of a client is that of its connection: X-Forwarded-For is anybody's to write, and the audit trail names
addresses. So behind a proxy it is the proxy's.
"""

import socket
import threading

import uvicorn
from fastapi import FastAPI

from dicom_node.errors import ResourceExhausted
from dicom_node.settings import WebSettings
from dicom_node.web.patience import ImpatientProtocol

START_TIMEOUT_S = 10.0
MOST_CONNECTIONS = 256
"""At once; requests beyond them are answered 503."""


class WebServer:
    """Uvicorn in a thread. The port is bound by the constructor, so a taken port stops the node at once."""

    def __init__(self, api: FastAPI, settings: WebSettings) -> None:
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
        self._server = uvicorn.Server(
            uvicorn.Config(
                api,
                http=ImpatientProtocol,
                ws="none",  # an upgraded connection would leave every deadline behind
                log_config=None,
                access_log=False,
                lifespan="off",
                proxy_headers=False,
                limit_concurrency=MOST_CONNECTIONS,
            )
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
        """Finish the requests under way and stop."""
        self._server.should_exit = True
        self._thread.join(START_TIMEOUT_S)
        self._socket.close()
