"""The receiving buffer: fragments come out as they went in, however the network cuts them; the rest is a fault."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.raw_sender import COMMAND, DATA, LAST, p_data
from dicom_node.association.deadlines import Deadline
from dicom_node.association.transfer import (
    BUFFER_BYTES,
    MAXIMUM_COMMAND_BYTES,
    ConnectionEnded,
    Inbox,
    Receive,
    check_length,
)
from dicom_node.association.upper_layer import PduKind, ProtocolFault


class Recorder:
    """Notes what it is given, as a list of words and bytes."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def command_fragment(self, context_id: int, fragment: bytes, *, last: bool) -> None:
        self.events.append(("command", context_id, fragment, last))

    def data_fragment(self, context_id: int) -> None:
        self.events.append(("data", context_id))

    def data(self, pieces: Sequence[memoryview]) -> None:
        self.events.extend(bytes(piece) for piece in pieces)

    def data_set_complete(self) -> None:
        self.events.append("complete")

    @property
    def data_set(self) -> bytes:
        return b"".join(event for event in self.events if isinstance(event, bytes))


def source(stream: bytes, sizes: Sequence[int] = ()) -> Receive:
    """A peer that sends the stream in parts of those sizes, the last size over and over, and closes.

    What is asked for as a whole is had as a whole every other time, as by a connection that TLS encrypts.
    """
    position, turn = 0, 0

    def receive_into(view: memoryview, *, whole: bool = False) -> int:
        nonlocal position, turn
        size = sizes[min(turn, len(sizes) - 1)] if sizes else len(stream)
        if whole and turn % 2:
            size = len(view)
        turn += 1
        part = stream[position : position + min(size, len(view))]
        view[: len(part)] = part
        position += len(part)
        return len(part)

    return receive_into


def read_all(stream: bytes, sizes: Sequence[int] = ()) -> Recorder:
    recorder = Recorder()
    inbox = Inbox(source(stream, sizes), Deadline(), pdu_s=1.0)
    try:
        while True:
            kind, length = inbox.head(wait_s=1.0)
            assert kind == PduKind.P_DATA_TF
            check_length(length, maximum_pdu=1 << 21)
            inbox.p_data(length, recorder)
    except ConnectionEnded:
        return recorder
    finally:
        inbox.close()


def data_set_pdus(context_id: int, parts: Sequence[bytes]) -> bytes:
    last = len(parts) - 1
    return b"".join(p_data(context_id, LAST if n == last else DATA, part) for n, part in enumerate(parts))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6),
    st.lists(st.integers(1, 200), max_size=6),
)
def test_fragments_come_out_as_they_went_in(parts: list[bytes], sizes: list[int]) -> None:
    stream = p_data(3, COMMAND | LAST, b"command")
    stream += data_set_pdus(3, parts)
    recorder = read_all(stream * 2, sizes)
    assert recorder.data_set == b"".join(parts) * 2
    assert recorder.events.count("complete") == 2
    assert recorder.events.count(("command", 3, b"command", True)) == 2


def test_several_values_in_one_pdu() -> None:
    values = [p_data(1, COMMAND | LAST, b"c"), p_data(1, DATA, b"ab"), p_data(1, LAST, b"cd")]
    content = b"".join(value[6:] for value in values)
    recorder = read_all(b"\x04\x00" + len(content).to_bytes(4, "big") + content)
    assert recorder.data_set == b"abcd"


def test_a_data_set_larger_than_the_buffer() -> None:
    content = bytes(range(256)) * (3 * BUFFER_BYTES // 256)
    room = 128 * 1024 - 6
    parts = [content[start : start + room] for start in range(0, len(content), room)]
    recorder = read_all(data_set_pdus(1, parts), [70_000])
    assert recorder.data_set == content


def test_fragments_of_one_byte_leave_no_heap_of_views() -> None:
    recorder = Recorder()
    most = 0

    def count(pieces: Sequence[memoryview]) -> None:
        nonlocal most
        most = max(most, len(pieces))

    recorder.data = count  # type: ignore[method-assign]
    stream = p_data(1, DATA, b"x") * 20_000
    inbox = Inbox(source(stream), Deadline(), pdu_s=1.0)
    for _ in range(20_000):
        _, length = inbox.head(wait_s=1.0)
        inbox.p_data(length, recorder)
    inbox.close()
    assert 0 < most <= 512


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"\x04\x00\x00\x00\x00\x00", id="no value"),
        pytest.param(b"\x04\x00\x00\x00\x00\x03abc", id="half a head of a value"),
        pytest.param(b"\x04\x00\x00\x00\x00\x06" + b"\x00\x00\x00\x01\x01\x03", id="value of one byte"),
        pytest.param(b"\x04\x00\x00\x00\x00\x08" + b"\xff\xff\xff\xff\x01\x03ab", id="value of four gigabytes"),
        pytest.param(p_data(1, COMMAND | LAST, bytes(MAXIMUM_COMMAND_BYTES + 1)), id="command set too long"),
        pytest.param(b"\x04\x00\xff\xff\xff\xff", id="PDU of four gigabytes"),
    ],
)
def test_malformed_pdus_are_faults(stream: bytes) -> None:
    with pytest.raises(ProtocolFault):
        read_all(stream)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 64))
def test_any_content_of_a_pdu_ends_in_a_fault_or_in_order(content: bytes, size: int) -> None:
    stream = b"\x04\x00" + len(content).to_bytes(4, "big") + content
    try:
        recorder = read_all(stream, [size])
    except ProtocolFault:
        return
    assert sum(len(event) for event in recorder.events if isinstance(event, bytes)) <= len(content)
