"""A request body as it arrives: its pace, and how long its sender keeps a place that another could use."""

import asyncio
import time
from collections.abc import AsyncIterator

BLOCK_BYTES = 1024 * 1024
"""Gathered before a thread is asked to take it."""
PERIOD_S = 30.0
"""In which each ``SLOWEST_BYTES`` of a body, or its end, have to come: as the data of an association."""
SLOWEST_BYTES = 64 * 1024
"""As in an association's ``Pace``, but without credit: a gigabyte that came fast buys no hours of trickling."""
LONGEST_S = 3600.0
"""A whole request: 4 GiB over 10 Mbit/s."""


class BodyGivenUp(Exception):
    """The node waits for no more of a body; the text says why."""


class ArrivingBody:
    """Time counts only while the sender is waited for: a slow disk of ours is not its fault.

    Used from the event loop alone.
    """

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._waited_s = 0.0
        """For the bytes that are due, before the wait that is under way."""
        self._due_bytes = SLOWEST_BYTES
        self._waiting_since: float | None = None
        self._timeout: asyncio.Timeout | None = None
        self._given_up_for = ""

    @property
    def late_s(self) -> float:
        """How long its sender has been silent, or is behind the slowest pace; 0 while it is the node's turn.

        A sender that is slow and steady is not late.
        """
        if self._waiting_since is None:
            return 0.0
        silent_s = time.monotonic() - self._waiting_since
        earned_s = PERIOD_S * (SLOWEST_BYTES - self._due_bytes) / SLOWEST_BYTES
        return max(silent_s, self._waited_s + silent_s - earned_s)

    @property
    def given_up(self) -> bool:
        """Whether no more of it is waited for."""
        return bool(self._given_up_for)

    def give_up(self, reason: str) -> None:
        """Wait no longer; ``blocks`` raises ``BodyGivenUp`` at once, or when it is next asked."""
        self._given_up_for = reason
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def blocks(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The body in blocks worth a thread's while; what came before an exception is handed on first.

        Raises ``TimeoutError``, ``BodyGivenUp`` and what the stream raises.
        """
        gathered = bytearray()
        while True:
            try:
                block = await self._next(stream)
            except Exception:
                if gathered:
                    yield bytes(gathered)
                raise
            gathered += block or b""
            if block is None or len(gathered) >= BLOCK_BYTES:
                yield bytes(gathered)
                gathered.clear()
            if block is None:
                return

    async def _next(self, stream: AsyncIterator[bytes]) -> bytes | None:
        if self._given_up_for:
            raise BodyGivenUp(self._given_up_for)
        self._waiting_since = began = time.monotonic()
        left_s = min(PERIOD_S - self._waited_s, self._began_at + LONGEST_S - began)
        try:
            async with asyncio.timeout(left_s) as self._timeout:
                block = await anext(stream, None)
        except TimeoutError:
            if self._given_up_for:
                raise BodyGivenUp(self._given_up_for) from None
            raise
        finally:
            self._timeout = self._waiting_since = None
            self._waited_s += time.monotonic() - began
        self._due_bytes -= len(block or b"")
        if self._due_bytes <= 0:
            self._due_bytes, self._waited_s = SLOWEST_BYTES, 0.0
        return block
