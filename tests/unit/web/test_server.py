"""The web port: whoever is told that the node has started reaches it."""

import socket

from fastapi import FastAPI

from dicom_node.settings import WebSettings
from dicom_node.web.server import WebServer

STARTS = 10


def test_nobody_is_refused_after_start() -> None:
    for _ in range(STARTS):
        server = WebServer(FastAPI(), WebSettings(port=0))
        server.start()
        socket.create_connection(("127.0.0.1", server.port)).close()
        server.stop()
