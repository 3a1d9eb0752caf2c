"""The receiving side of a connection: one buffer, PDUs walked in place (PS3.8 section 9.3.5, annex E).

Bytes are copied twice on their way to the disk, by the kernel: from the socket into the buffer and from the buffer into
the page cache. A data set's fragments go on as views of the buffer, many at a time; nothing is joined, queued or kept.
The buffer is a private mapping: page-aligned, and pages that an idle association never touched take no memory.
"""

import contextlib
import mmap
import struct
from collections.abc import Sequence
from typing import Protocol

from dicom_node.association.deadlines import Deadline
from dicom_node.association.pdus import HEAD
from dicom_node.association.upper_layer import AbortReason, ProtocolFault

BUFFER_BYTES = 1024 * 1024
"""Of one association: what the kernel hands over at once rarely reaches it."""
LEAST_RECEIVED_BYTES = 64 * 1024
"""With less room than that behind what is pending, it is handed on first."""
MAXIMUM_PIECES = 512
"""Fragments handed on at once: a peer may send them a byte each, and every view costs two hundred."""
MAXIMUM_COMMAND_BYTES = 16 * 1024
"""Of a command set; C-STORE requests take about 200."""

_PDV = struct.Struct(">IBB")
"""Length, presentation context ID, message control header (PS3.8 figure 9-2, annex E.2)."""
_COMMAND, _LAST = 0x01, 0x02


class ConnectionEnded(Exception):
    """The peer closed the connection, it broke, or the watchdog ended the wait."""


class FragmentReceiver(Protocol):
    """Who gets the fragments of messages. Everything may raise ``ProtocolFault``."""

    def command_fragment(self, context_id: int, fragment: bytes, *, last: bool) -> None:
        """A part of a command set."""
        ...

    def data_fragment(self, context_id: int) -> None:
        """A part of a data set begins: may it?"""
        ...

    def data(self, pieces: Sequence[memoryview]) -> None:
        """Bytes of the data set; the views are void after the call."""
        ...

    def data_set_complete(self) -> None:
        """Its last byte was handed over."""
        ...


class Receive(Protocol):
    """Reads from a connection."""

    def __call__(self, view: memoryview, *, whole: bool = False) -> int:
        """Fill the view: with what is there, or the ``whole`` of it, where that can be had in one call.

        Returns how many bytes; 0 where the connection has ended.
        """
        ...


class Inbox:
    """Reads PDUs. Methods raise ``ConnectionEnded`` and ``ProtocolFault``."""

    def __init__(self, receive_into: Receive, deadline: Deadline, *, pdu_s: float) -> None:
        self._receive_into = receive_into
        self._deadline = deadline
        self._pdu_s = pdu_s
        self._buffer = mmap.mmap(-1, BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._pieces: list[memoryview] = []
        self._receiver: FragmentReceiver | None = None

    def close(self) -> None:
        """Give the buffer back."""
        self._pieces.clear()
        with contextlib.suppress(BufferError):  # an exception on its way still holds a view; the mapping goes with it
            self._view.release()
            self._buffer.close()

    def head(self, *, wait_s: float | None) -> tuple[int, int]:
        """Type of the next PDU and the length of what follows its head.

        ``wait_s``: how long its first byte may take; the whole of it then ``pdu_s``. ``None``: the deadline that runs.
        """
        if wait_s is not None:
            if self._start == self._end:
                self._deadline.within(wait_s)
                self._receive(1)
            self._deadline.within(self._pdu_s)
        self._need(HEAD.size)
        kind, length = HEAD.unpack_from(self._buffer, self._start)
        self._start += HEAD.size
        return kind, length

    def body(self, length: int) -> bytes:
        """What follows the head of a PDU of association control; the caller has looked at the length."""
        body = bytearray()
        while len(body) < length:
            if self._start == self._end:
                self._receive(1)
            stop = min(self._end, self._start + length - len(body))
            body += self._view[self._start : stop]
            self._start = stop
        return bytes(body)

    def p_data(self, length: int, receiver: FragmentReceiver) -> None:
        """Take the presentation data values of a P-DATA-TF of that length."""
        self._receiver = receiver
        left = length
        while left:
            if left < _PDV.size:
                raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a presentation data value is cut off")
            self._need(_PDV.size)
            size, context_id, control = _PDV.unpack_from(self._buffer, self._start)
            if size < 2 or size + 4 > left:
                raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a presentation data value exceeds its PDU")
            self._start += _PDV.size
            left -= size + 4
            last = bool(control & _LAST)
            if control & _COMMAND:
                if size > MAXIMUM_COMMAND_BYTES:
                    raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a command set is too long")
                fragment = self.body(size - 2)
                with self._deadline.stopped():
                    receiver.command_fragment(context_id, fragment, last=last)
            else:
                receiver.data_fragment(context_id)
                self._data(size - 2)
                if last:
                    self._flush()
                    with self._deadline.stopped():
                        receiver.data_set_complete()

    def drain(self) -> None:
        """Read until the peer closes the connection, or the deadline ends the wait."""
        while self._receive_into(self._view):
            pass

    def _data(self, size: int) -> None:
        while size:
            if self._start == self._end:
                self._receive(1, at_hand=size)
            stop = min(self._end, self._start + size)
            self._pieces.append(self._view[self._start : stop])
            size -= stop - self._start
            self._start = stop
            if len(self._pieces) == MAXIMUM_PIECES:
                self._flush()

    def _flush(self) -> None:
        if self._pieces and self._receiver is not None:
            with self._deadline.stopped():
                self._receiver.data(self._pieces)
            self._pieces.clear()

    def _need(self, count: int) -> None:
        while self._end - self._start < count:
            self._receive(count)

    def _receive(self, count: int, *, at_hand: int = 0) -> None:
        """Wait for more, with room for ``count`` bytes in one piece.

        ``at_hand``: so many bytes are sure to come, so one call may wait for all of them.
        """
        if self._start + count > BUFFER_BYTES or BUFFER_BYTES - self._end < LEAST_RECEIVED_BYTES:
            self._make_room()
        elif self._start == self._end and not self._pieces:
            self._start = self._end = 0
        stop = min(self._end + at_hand, BUFFER_BYTES) if at_hand else BUFFER_BYTES
        received = self._receive_into(self._view[self._end : stop], whole=at_hand > 0)
        if received == 0:
            raise ConnectionEnded
        self._end += received

    def _make_room(self) -> None:
        """Hand on what is pending, and begin again at the start of the buffer."""
        self._flush()
        left = self._end - self._start
        self._buffer.move(0, self._start, left)
        self._start, self._end = 0, left


def check_length(length: int, *, maximum_pdu: int) -> None:
    """Of a P-DATA-TF. Raises ``ProtocolFault``."""
    if length > maximum_pdu:
        raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a PDU is longer than the maximum that was announced")
    if length == 0:
        raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a P-DATA PDU is empty")
