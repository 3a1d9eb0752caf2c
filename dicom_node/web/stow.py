"""STOW-RS (PS3.18 section 10.5): instances by HTTP into the same spool, by the same checks, for whoever has the token.

Owns the HTTP side: who may, which media types, how many at once, and the status of the whole answer.
No XML is read. What ``stow_upload`` has stored stays stored, whatever becomes of the request.
"""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Final

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.requests import ClientDisconnect

from dicom_node.association import AssociationEvent, EventKind, Intake
from dicom_node.association.file_intake import ArrivingFile
from dicom_node.errors import SettingsError
from dicom_node.headers import is_valid_uid
from dicom_node.settings import StowSettings
from dicom_node.web.acceptance import chosen
from dicom_node.web.body import ArrivingBody, BodyGivenUp
from dicom_node.web.multipart_related import MalformedMultipart, TooManyParts, media_type
from dicom_node.web.store_response import MEDIA_TYPES
from dicom_node.web.stow_upload import BYTES_PER_MB, DiskFull, RequestTooLarge, Upload

log = structlog.get_logger(__name__)

SOURCE: Final = "stow-rs"
"""Stands in the index where instances from the network have the calling AE title."""
MINIMUM_TOKEN: Final = 32
"""Characters; 128 bits in hexadecimal."""
MAXIMUM_TOKEN_BYTES: Final = 4096
GIVE_WAY_S: Final = 2.0
"""With every place taken, the sender that is late by the most loses its own, if it is late by so much."""
RETRY_AFTER_S: Final = 120
"""For a disk to be cleared."""
RETRY_SOON_S: Final = 5
"""For a place: longer than ``GIVE_WAY_S``."""
SOON: Final = MappingProxyType({"Retry-After": str(RETRY_SOON_S)})
STOPPING: Final = "the node is stopping"
CLIENT_GONE: Final = 499
"""For the log alone: nobody is there to read it."""
HEADERS: Final = MappingProxyType(
    {
        401: {"WWW-Authenticate": 'Bearer realm="dicom-web"'},
        408: {"Connection": "close"},
        503: {"Retry-After": str(RETRY_AFTER_S)},
    }
)


def read_token(path: Path) -> bytes:
    """The bearer token. Raises ``SettingsError``."""
    try:
        with path.open("rb") as file:
            token = file.read(MAXIMUM_TOKEN_BYTES).strip()
    except OSError as error:
        raise SettingsError([f"web.stow.token_file: {path} cannot be read ({error.strerror})"]) from error
    if len(token) < MINIMUM_TOKEN or not token.isascii() or len(token.split()) != 1:
        wanted = f"one word of {MINIMUM_TOKEN} or more characters, as openssl rand -hex 32 makes them"
        raise SettingsError([f"web.stow.token_file: {path} must hold {wanted}"])
    return token


class _Refusal(Exception):
    """The request as a whole is not taken."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or HEADERS.get(status, {})


class StowDoor:
    """The two resources; knows the requests under way. Used from the event loop alone.

    ``audit`` is told who came without the token, and of each request what it brought, as of an association.
    """

    def __init__(
        self, settings: StowSettings, intake: Intake, *, audit: Callable[[AssociationEvent], None] = lambda _event: None
    ) -> None:
        """Raises ``SettingsError`` where the token cannot be used."""
        self._settings = settings
        self._intake = intake
        self._audit = audit
        self._token = read_token(settings.token_file)
        self._under_way: set[ArrivingBody] = set()
        self._all_told = asyncio.Event()
        self._all_told.set()
        self._stopping = False

    @property
    def router(self) -> APIRouter:
        """The resources."""
        router = APIRouter(prefix="/dicom-web")

        @router.post("/studies")
        async def store(request: Request) -> Response:
            """Store instances: multipart/related of application/dicom (PS3.18 section 10.5), with a bearer token."""
            return await self._answer(request, "")

        @router.post("/studies/{study_uid}")
        async def store_in_study(study_uid: str, request: Request) -> Response:
            """The same, for instances of one study alone."""
            return await self._answer(request, study_uid)

        return router

    async def close(self) -> None:
        """Take no request from now on, read no further in those under way; return when each is in log and trail."""
        self._stopping = True
        for body in self._under_way:
            body.give_up(STOPPING)
        await self._all_told.wait()

    async def _answer(self, request: Request, study_uid: str) -> Response:
        """Store what the request brings."""
        peer = request.client.host if request.client is not None else ""
        try:
            upload = self._admitted(request, study_uid, peer)
        except _Refusal as refusal:
            log.warning("stow_rejected", address=peer, status=refusal.status, reason=str(refusal))
            if refusal.status == HTTPStatus.UNAUTHORIZED:
                self._audit(AssociationEvent(kind=EventKind.REJECTED, address=peer, reason="STOW-RS without the token"))
            return _plain(refusal.status, str(refusal), refusal.headers)
        body = ArrivingBody()
        self._under_way.add(body)
        self._all_told.clear()
        try:
            return await self._store(request, body, upload, peer)
        finally:
            self._under_way.discard(body)
            if not self._under_way:
                self._all_told.set()

    def _admitted(self, request: Request, study_uid: str, peer: str) -> Upload:
        """What takes the body of a request that may be read."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(token.strip().encode("latin-1"), self._token)
        if scheme.lower() != "bearer" or not known:
            raise _Refusal(401, "a bearer token is needed")
        # Several headers of one name are one list (RFC 9110 section 5.3).
        answer_type = chosen(",".join(request.headers.getlist("accept")), MEDIA_TYPES)
        if answer_type is None:
            raise _Refusal(406, f"the answer is {' or '.join(MEDIA_TYPES)}")
        content_type, parameter = media_type(request.headers.get("content-type", ""))
        if content_type != "multipart/related" or parameter("type").lower() not in ("application/dicom", ""):
            raise _Refusal(415, 'only multipart/related; type="application/dicom" is taken')
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise _Refusal(415, "only a body without content coding is taken", {"Accept-Encoding": "identity"})
        if study_uid and not is_valid_uid(study_uid):
            raise _Refusal(400, "the address names no valid Study Instance UID")
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._settings.maximum_request_mb * BYTES_PER_MB:
            raise _Refusal(413, f"the request is longer than {self._settings.maximum_request_mb} MiB")

        def arrive() -> ArrivingFile:
            return ArrivingFile(self._intake, source=SOURCE, study_uid=study_uid)

        try:
            upload = Upload(parameter("boundary"), self._settings, arrive=arrive, peer=peer, answer_type=answer_type)
        except MalformedMultipart as error:
            raise _Refusal(400, str(error)) from error
        self._require_place()
        return upload

    def _require_place(self) -> None:
        """Where all are taken, a sender that has stalled must not keep one from a sender that has something."""
        if self._stopping:
            raise _Refusal(503, STOPPING, SOON)
        places = [body for body in self._under_way if not body.given_up]
        if len(places) < self._settings.maximum_requests:
            return
        latest = max(places, key=lambda body: body.late_s)
        if latest.late_s < GIVE_WAY_S:
            raise _Refusal(503, "too many requests at once", SOON)
        latest.give_up("stalled while others waited for its place")

    async def _store(self, request: Request, body: ArrivingBody, upload: Upload, peer: str) -> Response:
        started = time.monotonic()
        response = upload.response
        try:
            await _read(body.blocks(request.stream()), upload)
            status, reason = response.http_status(), ""
            headers: Mapping[str, str] = HEADERS.get(status, {})
        except _Refusal as refusal:
            status, reason, headers = refusal.status, str(refusal), refusal.headers
        finally:
            await asyncio.to_thread(upload.close)
        self._audit(
            AssociationEvent(
                kind=EventKind.ABORTED if reason else EventKind.ENDED,
                address=peer,
                reason=reason,
                instances=len(response.stored),
                studies=upload.studies,
            )
        )
        log.info(
            "stow_request",
            address=peer,
            status=status,
            reason=reason,
            accepted=len(response.stored),
            refused=response.refused,
            bytes=upload.size_bytes,
            seconds=round(time.monotonic() - started, 3),
        )
        if not response.stored and not response.refused:
            return _plain(status, reason, headers)
        return Response(response.document(), status_code=status, headers=dict(headers), media_type=response.media_type)


async def _read(blocks: AsyncIterator[bytes], upload: Upload) -> None:
    """Read the body to its end. Raises ``_Refusal`` where it cannot go on."""
    try:
        async for block in blocks:
            await asyncio.to_thread(upload.feed, block)
    except (RequestTooLarge, TooManyParts) as error:
        raise _Refusal(413, str(error)) from error
    except MalformedMultipart as error:
        raise _Refusal(400, str(error)) from error
    except DiskFull as error:
        raise _Refusal(503, str(error)) from error
    except BodyGivenUp as error:
        raise _Refusal(503, str(error), SOON) from error
    except TimeoutError as error:
        raise _Refusal(408, "the body did not come in time") from error
    except ClientDisconnect as error:
        raise _Refusal(CLIENT_GONE, "the sender went away") from error
    if not upload.complete:
        raise _Refusal(400, "the body ends before its closing delimiter, or holds no part")


def _plain(status: int, reason: str, headers: Mapping[str, str]) -> Response:
    return PlainTextResponse(reason + "\n", status_code=status, headers=dict(headers))
