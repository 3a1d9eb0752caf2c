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

    @property
    def late_s(self) -> float:
        """How long its sender has been waited for and has not brought what is due; 0 while it is the node's turn."""
        if self._waiting_since is None:
            return 0.0
        return self._waited_s + time.monotonic() - self._waiting_since

    def give_up(self) -> None:
        """Wait no longer; ``blocks`` raises ``TimeoutError``. Nothing happens while nobody is waited for."""
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def blocks(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The body in blocks worth a thread's while. Raises ``TimeoutError``."""
        gathered = bytearray()
        while True:
            block = await self._next(stream)
            gathered += block or b""
            if block is None or len(gathered) >= BLOCK_BYTES:
                yield bytes(gathered)
                gathered.clear()
            if block is None:
                return

    async def _next(self, stream: AsyncIterator[bytes]) -> bytes | None:
        self._waiting_since = began = time.monotonic()
        left_s = min(PERIOD_S - self._waited_s, self._began_at + LONGEST_S - began)
        try:
            async with asyncio.timeout(left_s) as self._timeout:
                block = await anext(stream, None)
        finally:
            self._timeout = self._waiting_since = None
            self._waited_s += time.monotonic() - began
        self._due_bytes -= len(block or b"")
        if self._due_bytes <= 0:
            self._due_bytes, self._waited_s = SLOWEST_BYTES, 0.0
        return block
