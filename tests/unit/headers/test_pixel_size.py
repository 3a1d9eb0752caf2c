"""Pixel data against what its header says of it."""

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom.dsutils import encode

from dicom_node.errors import InstanceRefused
from dicom_node.headers import facts_from_data_set
from tests.synthetic_ct import COLUMNS, ROWS, ct_slice


def image(**changes: object) -> Dataset:
    made = ct_slice(1, (0.0, 0.0, 0.0))
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made


def encoded(made: Dataset, *, implicit: bool = False) -> bytes:
    found = encode(made, implicit, True)
    assert found is not None
    return found


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    "made",
    [
        pytest.param(image(), id="as it should be"),
        pytest.param(image(NumberOfFrames=1), id="one frame"),
        pytest.param(image(BitsAllocated=8, PixelData=bytes(ROWS * COLUMNS)), id="bytes"),
        pytest.param(image(BitsAllocated=1, PixelData=bytes(ROWS * COLUMNS // 8)), id="bits, as in segmentations"),
        pytest.param(image(PixelData=bytes(2 * ROWS * COLUMNS + 2)), id="padding behind"),
        pytest.param(
            image(
                SamplesPerPixel=3,
                BitsAllocated=8,
                PhotometricInterpretation="YBR_FULL_422",
                PixelData=bytes(2 * ROWS * COLUMNS),
            ),
            id="subsampled colour",
        ),
    ],
)
def test_enough_pixels_are_taken(made: Dataset, implicit: bool) -> None:
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    assert facts_from_data_set(encoded(made, implicit=implicit), syntax).rows == ROWS


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(image(PixelData=bytes(2 * ROWS * COLUMNS - 2)), id="two bytes short"),
        pytest.param(image(PixelData=b""), id="none"),
        pytest.param(image(Rows=65535, Columns=65535), id="rows and columns lie"),
        pytest.param(image(NumberOfFrames=2), id="frames lie"),
        pytest.param(image(NumberOfFrames=2**31 - 1), id="frames overflow"),
        pytest.param(image(SamplesPerPixel=3), id="samples lie"),
        pytest.param(image(BitsAllocated=32), id="bits lie"),
    ],
)
def test_too_few_pixels_are_refused(made: Dataset) -> None:
    with pytest.raises(InstanceRefused, match="damaged: pixel data is shorter"):
        facts_from_data_set(encoded(made), ExplicitVRLittleEndian)


def compressed(frames: list[bytes]) -> Dataset:
    made = image(NumberOfFrames=len(frames), PixelData=encapsulate(frames))
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return made


def test_compressed_frames_need_a_fragment_each() -> None:
    two = compressed([b"ab", b"cd"])
    assert facts_from_data_set(encoded(two), JPEG2000Lossless).rows == ROWS
    two.NumberOfFrames = 3
    with pytest.raises(InstanceRefused, match="fewer fragments than frames"):
        facts_from_data_set(encoded(two), JPEG2000Lossless)


def test_the_transfer_syntax_decides_how_pixels_are_written() -> None:
    with pytest.raises(InstanceRefused, match="native pixel data in a compressed syntax"):
        facts_from_data_set(encoded(image()), JPEG2000Lossless)
    with pytest.raises(InstanceRefused, match="fragments in a native transfer syntax"):
        facts_from_data_set(encoded(compressed([b"ab"])), ExplicitVRLittleEndian)
