"""HTTP/1.1 that waits for nobody for ever: not for a head, not for a body that nobody wants, not for a reader.

Uvicorn itself ends only connections that are idle between two requests. A body that is wanted has a pace of its own,
and words for its sender: see ``body``.
"""

import asyncio
from collections import Counter
from enum import Enum
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LOOK_S = 0.25
"""Between two looks at a connection; a deadline is kept to that."""
MOST_WITHOUT_REQUEST = 128
"""Connections that have no request under way: one more, and the oldest of the address that has the most must go."""
READER_STEP_BYTES = 64 * 1024
LAST_HEADERS = [(b"Connection", b"close"), (b"Content-Length", b"0")]


class Wait(Enum):
    """What a connection waits for its client to do."""

    NOTHING = "nothing"
    """It is the node's turn."""
    IDLE = "idle"
    """To begin a further request. Uvicorn's own timer is shorter, but stops for good where a body ends after its
    answer."""
    HEAD = "head"
    """To send a request head, from the connection or from the first byte of a further request (slow-loris)."""
    REST = "rest"
    """To end a body that was answered already: so long a sender may go on before it hears that it was refused."""
    READER = "reader"
    """To take the next 64 KiB of its answers, or what is left of them."""


PATIENCE_S = {Wait.NOTHING: float("inf"), Wait.IDLE: 15.0, Wait.HEAD: 15.0, Wait.REST: 15.0, Wait.READER: 30.0}


class ImpatientProtocol(H11Protocol):
    """One connection. A head that has begun and does not end is answered 408; other waits end without a word."""

    _timer: asyncio.TimerHandle | None = None
    _opened_at = 0.0
    _waiting: tuple[Wait, object] = (Wait.NOTHING, None)
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at it; another connection may have to go for it."""
        super().connection_made(transport)
        self._opened_at = self.loop.time()
        self._make_room()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        now, waiting = self.loop.time(), self._waits_for()
        if waiting != self._waiting:
            self._waiting, self._since = waiting, now
        if now - self._since >= PATIENCE_S[waiting[0]]:
            self._end(waiting[0])
        else:
            self._timer = self.loop.call_later(LOOK_S, self._look)

    def _waits_for(self) -> tuple[Wait, object]:
        """What for, with something that changes when the client gets on."""
        unread = self.transport.get_write_buffer_size()
        if unread:
            return Wait.READER, unread // READER_STEP_BYTES
        if self.conn.their_state is h11.IDLE:
            begun = self.cycle is None or self.conn.trailing_data[0]
            return Wait.HEAD if begun else Wait.IDLE, self.cycle
        if self.conn.their_state is h11.SEND_BODY and self._without_request:
            return Wait.REST, self.cycle
        return Wait.NOTHING, None

    def _end(self, wait: Wait) -> None:
        if wait is Wait.HEAD and self.conn.trailing_data[0]:
            late = HTTPStatus.REQUEST_TIMEOUT
            answer = h11.Response(status_code=late, reason=late.phrase.encode(), headers=LAST_HEADERS)
            self.transport.write(self.conn.send(answer) or b"")
        self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()

    @property
    def _without_request(self) -> bool:
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self.transport.get_write_buffer_size()  # else its answer is still being read

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _make_room(self) -> None:
        crowd = [one for one in self.connections if isinstance(one, ImpatientProtocol) and one._without_request]
        if len(crowd) <= MOST_WITHOUT_REQUEST:
            return
        (busiest, _), *_ = Counter(one._address for one in crowd).most_common(1)
        oldest = min((one for one in crowd if one._address == busiest), key=lambda one: one._opened_at)
        self.connections.discard(oldest)  # it counts no more, though the loop ends it a little later
        oldest.transport.abort()
