"""Facts from the first bytes of an image, and from what its siblings said: the same as from all of its own bytes."""

import struct
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from dicom_node.errors import InstanceRefused
from dicom_node.headers import facts, facts_from_data_set, facts_from_start
from dicom_node.records import InstanceFacts
from tests.synthetic_ct import ct_slice

FIRST = 2000
"""Bytes at hand; the images here have 600 before their pixels."""


def encoded(image: Dataset, *, implicit: bool = False) -> bytes:
    return encode(image, implicit, True) or b""


def alone(data: bytes, syntax: str = ExplicitVRLittleEndian) -> InstanceFacts | str:
    """What all bytes say, with no sibling to remember."""
    facts._siblings.clear()
    try:
        return facts_from_data_set(data, syntax)
    except InstanceRefused as refusal:
        return str(refusal)


def from_start(data: bytes, syntax: str = ExplicitVRLittleEndian, *, first: int = FIRST) -> InstanceFacts | str | None:
    try:
        return facts_from_start(data[:first], len(data), syntax)
    except InstanceRefused as refusal:
        return str(refusal)


@pytest.fixture
def image() -> Dataset:
    made = ct_slice(7, (-100.5, -90.25, 12.0))
    made.Rows = made.Columns = 64
    made.PixelData = bytes(2 * 64 * 64)
    return made


@pytest.mark.parametrize("implicit", [False, True])
def test_an_image_needs_no_more_than_its_header(image: Dataset, implicit: bool) -> None:
    data = encoded(image, implicit=implicit)
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    assert len(data) > 2 * FIRST
    assert from_start(data, syntax) == alone(data, syntax)


def test_a_header_that_is_cut_anywhere_is_asked_for_whole(image: Dataset) -> None:
    data = encoded(image)
    pixels = data.index(struct.pack("<HH", 0x7FE0, 0x0010)) + 12
    for first in range(pixels):
        assert from_start(data, first=first) is None, first
    assert from_start(data, first=pixels) == alone(data)


def test_what_stands_behind_the_pixels_is_asked_for(image: Dataset) -> None:
    image.add_new(0xFFFCFFFC, "OB", bytes(10))
    data = encoded(image)
    assert from_start(data) is None
    assert not isinstance(alone(data), str)


def test_truncated_pixels_are_seen_without_looking_at_them(image: Dataset) -> None:
    data = encoded(image)[:-2]
    assert from_start(data) == alone(data)
    assert "truncated" in str(from_start(data))


def test_deflated_data_sets_are_asked_for_whole(image: Dataset) -> None:
    assert facts_from_start(b"\0" * 10, 10, DeflatedExplicitVRLittleEndian) is None


def test_real_images_say_the_same(shared_data: Path) -> None:
    some = sorted((shared_data / "covid_ct_md").rglob("*.dcm"))[:40] + sorted((shared_data / "cmb_crc").rglob("*"))[:40]
    images = [dcmread(path) for path in some if path.is_file() and path.suffix in (".dcm", "")]
    assert images
    for each in images:
        data, syntax = encoded(each), str(ExplicitVRLittleEndian)
        if each.file_meta.TransferSyntaxUID.is_compressed:
            continue
        fresh = alone(data, syntax)
        assert from_start(data, syntax, first=16384) in (fresh, None)
        assert from_start(data, syntax, first=16384) in (fresh, None), "by its own memory, now"


CHANGES = {
    "SOPInstanceUID": "1.2.3.4", "InstanceNumber": 8, "ImagePositionPatient": [1, 2, 3], "SeriesInstanceUID": "1.2.9",
    "StudyInstanceUID": "1.2.8", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
    "ImageOrientationPatient": [0, 1, 0, 1, 0, 0],
    "PixelSpacing": [2, 3], "RescaleSlope": 2, "RescaleIntercept": 5, "SliceThickness": 9, "Modality": "MR",
    "ImageType": ["DERIVED"], "SeriesDescription": "another", "ConvolutionKernel": "x", "BodyPartExamined": "HEAD",
    "ContrastBolusAgent": "yes", "GantryDetectorTilt": 12, "SeriesNumber": 44, "FrameOfReferenceUID": "1.2.7",
    "BurnedInAnnotation": "YES", "Rows": 2, "BitsAllocated": 8, "SamplesPerPixel": 3, "NumberOfFrames": 50,
    "SpecificCharacterSet": "ISO_IR 192",
}  # fmt: skip


@pytest.mark.parametrize("keyword", CHANGES)
def test_no_sibling_lends_what_differs(image: Dataset, keyword: str) -> None:
    other = deepcopy(image)
    setattr(other, keyword, CHANGES[keyword])
    for gone in (False, True):
        if gone:
            del other[keyword]
        expected = alone(encoded(other))
        alone(encoded(image))
        assert from_start(encoded(other)) == expected
        with_memory = from_start(encoded(other))
        assert with_memory == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 900), st.binary(min_size=1, max_size=4)), min_size=1, max_size=3))
def test_damaged_headers_say_the_same(damage: list[tuple[int, bytes]]) -> None:
    good = encoded(ct_slice(7, (0, 0, 0)))
    bad = bytearray(good)
    for at, instead in damage:
        bad[at : at + len(instead)] = instead
    expected = alone(bytes(bad))
    alone(good)
    assert from_start(bytes(bad)) in (expected, None)
    facts._siblings.clear()
    assert from_start(bytes(bad)) in (expected, None)
