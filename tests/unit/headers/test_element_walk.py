"""Hostile bytes cost a bounded amount of work and memory, and end in one kind of error."""

import struct
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.errors import InstanceRefused
from dicom_node.headers import facts_from_data_set
from dicom_node.headers.elements import MAXIMUM_DEPTH, ElementWalk, Encoding, MalformedDataSet

UNDEFINED = 0xFFFFFFFF
SEQUENCE = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, UNDEFINED)
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
EMPTY_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
WANTED = frozenset({0x00080060, 0x00081140})
MODALITY = struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", 2) + b"CT"


def find(encoded: bytes, *, to_end: bool = True) -> set[int]:
    return set(ElementWalk(encoded, Encoding()).find(WANTED, 0, len(encoded), to_end=to_end))


def test_nesting_is_walked_up_to_its_bound_and_no_further() -> None:
    deep = MAXIMUM_DEPTH // 2
    fits = SEQUENCE + ITEM + (SEQUENCE + ITEM) * (deep - 1) + (ITEM_END + SEQUENCE_END) * deep
    assert find(fits + MODALITY) == {0x00081140, 0x00080060}
    with pytest.raises(MalformedDataSet, match="too deeply"):
        find((SEQUENCE + ITEM) * (deep + 1) + (ITEM_END + SEQUENCE_END) * (deep + 1))
    with pytest.raises(MalformedDataSet, match="too deeply"):
        find((SEQUENCE + ITEM) * 1_000_000)


def test_a_million_empty_items_end_in_seconds_and_without_memory() -> None:
    encoded = SEQUENCE + EMPTY_ITEM * 1_100_000 + SEQUENCE_END
    started = time.process_time()
    with pytest.raises(InstanceRefused, match="more elements"):
        facts_from_data_set(encoded, ExplicitVRLittleEndian)
    assert time.process_time() - started < 15  # pydicom 3.0.2: 43 s


def test_skipped_items_leave_nothing_behind() -> None:
    encoded = SEQUENCE + EMPTY_ITEM * 50_000 + SEQUENCE_END
    walk = ElementWalk(encoded, Encoding())
    tracemalloc.start()
    try:
        walk.find(frozenset(), 0, len(encoded))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100_000


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(SEQUENCE + ITEM, id="nothing is closed"),
        pytest.param(SEQUENCE + MODALITY, id="element outside an item"),
        pytest.param(ITEM, id="item outside a sequence"),
        pytest.param(SEQUENCE_END, id="delimiter of nothing"),
        pytest.param(SEQUENCE + ITEM_END, id="wrong delimiter"),
        pytest.param(MODALITY[:-1], id="cut value"),
        pytest.param(MODALITY[:5], id="cut head"),
        pytest.param(b"\x08\x00\x60\x00zz\x02\x00CT", id="no value representation"),
        pytest.param(struct.pack("<HH2sHI", 8, 0x60, b"UT", 0, UNDEFINED), id="undefined length of a text"),
        pytest.param(struct.pack("<HH2sHI", 8, 0x60, b"UT", 0, 2**31) + b"ab", id="length lie"),
        pytest.param(struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 8) + ITEM[:4] + b"\x40\0\0\0", id="item lie"),
        pytest.param(struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, UNDEFINED) + ITEM, id="fragment without length"),
    ],
)
def test_malformed_structure_is_one_error_with_our_words_only(encoded: bytes) -> None:
    with pytest.raises(MalformedDataSet) as caught:
        find(encoded)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 64


def test_pixel_data_ends_the_walk_of_a_header() -> None:
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, 2**31)
    walk = ElementWalk(MODALITY + pixels + b"\0" * 6, Encoding())
    element = walk.find(frozenset({0x7FE00010}), 0, len(walk.encoded))[0x7FE00010]
    assert element.stop - element.start == 6


def test_unknown_of_undefined_length_is_implicit() -> None:
    implicit_item = ITEM + struct.pack("<HHI", 0x0009, 0x1001, 4) + b"ab\0\0" + ITEM_END
    private = struct.pack("<HH2sHI", 0x0009, 0x1002, b"UN", 0, UNDEFINED)
    assert find(private + implicit_item + SEQUENCE_END + MODALITY) == {0x00080060}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([SEQUENCE, ITEM, ITEM_END, SEQUENCE_END, EMPTY_ITEM, MODALITY]) | st.binary(max_size=12),
        max_size=30,
    ),
    st.sampled_from([ExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian]),
)
def test_any_bytes_give_facts_or_a_refusal(parts: list[bytes], syntax: str) -> None:
    with pytest.raises(InstanceRefused) as caught:  # without UIDs there is nothing to accept
        facts_from_data_set(b"".join(parts), syntax)
    assert len(str(caught.value)) <= 64


UNREMARKABLE = struct.pack("<HH2sH", 0x0009, 0x0010, b"LO", 2) + b"P "
PIXELS = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 2) + b"\0\0"
FRAGMENTS = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED) + EMPTY_ITEM + SEQUENCE_END
PADDING = struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 4) + bytes(4)
CLOSED = SEQUENCE + SEQUENCE_END


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(MODALITY + MODALITY, id="twice"),
        pytest.param(MODALITY + CLOSED + MODALITY, id="twice, not in a row"),
        pytest.param(CLOSED + MODALITY + CLOSED, id="a sequence twice"),
        pytest.param(MODALITY + PIXELS + MODALITY, id="twice, once behind the pixels"),
        pytest.param(UNREMARKABLE + PIXELS + MODALITY, id="behind the pixels only"),
        pytest.param(CLOSED + FRAGMENTS + PADDING + MODALITY, id="behind fragments and padding"),
        pytest.param(CLOSED + PIXELS + MODALITY + PADDING, id="between pixels and padding"),
    ],
)
def test_an_element_that_readers_may_see_otherwise_is_malformed(encoded: bytes) -> None:
    with pytest.raises(MalformedDataSet, match="twice, or behind"):
        find(encoded)


def test_what_nobody_asks_for_may_stand_twice_and_behind_the_pixels() -> None:
    for pixels in (PIXELS, FRAGMENTS):
        assert find(UNREMARKABLE * 2 + MODALITY + pixels + UNREMARKABLE + PADDING) == {0x00080060}
        assert find(MODALITY + pixels + PADDING, to_end=False) == {0x00080060, 0x7FE00010}
