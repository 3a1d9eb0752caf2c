"""Web ports with STOW-RS, on a real server, spool and index."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from dicom_node.association import AssociationEvent, Intake
from dicom_node.index import Index, Overview, open_database
from dicom_node.settings import StowSettings, WebSettings
from dicom_node.spool import SegmentSpool
from dicom_node.web.api import create_api
from dicom_node.web.server import WebServer
from dicom_node.web.stow import StowDoor
from tests.unit.web.stow_port import TOKEN, Stow, client_of


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Stow]]:
    running: list[tuple[WebServer, httpx.Client, Intake]] = []

    def start_stow(*, minimum_free_bytes: int = 0, told: list[AssociationEvent] | None = None, **settings: int) -> Stow:
        events: list[AssociationEvent] = [] if told is None else told
        (tmp_path / "token").write_text(TOKEN + "\n")
        spool = SegmentSpool(tmp_path / "spool", minimum_free_bytes=minimum_free_bytes)
        database = open_database(tmp_path / "node.sqlite")
        index = Index(database)
        application = create_api(overview=Overview(database), readiness={}, version="0.1.0")
        stow_settings = StowSettings.model_validate({"token_file": tmp_path / "token", **settings})
        intake = Intake(spool, index)
        door = StowDoor(stow_settings, intake, audit=events.append)
        application.include_router(door.router)
        server = WebServer(application, WebSettings(port=0), doors=[door])
        server.start()
        client = client_of(server.port)
        running.append((server, client, intake))
        return Stow(
            application=application, client=client, server=server, port=server.port, folder=tmp_path / "spool",
            spool=spool, index=index, intake=intake,
        )  # fmt: skip

    yield start_stow
    for server, client, intake in running:
        client.close()
        server.stop()
        intake.close()


@pytest.fixture
def stow(start: Callable[..., Stow]) -> Stow:
    return start()
