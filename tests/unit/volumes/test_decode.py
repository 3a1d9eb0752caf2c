"""Every transfer syntax that is accepted decodes to the true stored values, and damage is told."""

from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from synthetic_ct import axial_series, enhanced_ct, set_pixels, write

from dicom_node.errors import NotAnalysable
from dicom_node.volumes import DecodePool, build_volume

Encode = Callable[[NDArray[np.uint16]], bytes]


def jpeg_lossless(values: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=16))


def jpeg_ls(values: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.jpegls_encode(values))


def jpeg_2000(values: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True))


def high_throughput(values: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.htj2k_encode(values, reversible=True))


def rle(values: NDArray[np.uint16]) -> bytes:
    """PS3.5 annex G: the high bytes as one segment, the low bytes as the other."""
    planes = [imagecodecs.packbits_encode((values >> shift).astype(np.uint8).tobytes()) for shift in (8, 0)]
    planes = [bytes(plane) + bytes(len(plane) % 2) for plane in planes]
    offsets = (2, 64, 64 + len(planes[0]))
    return np.array([*offsets, *[0] * 13], dtype="<u4").tobytes() + b"".join(planes)


CODECS = [
    pytest.param(JPEGLosslessSV1, jpeg_lossless, id="JPEG Lossless"),
    pytest.param(JPEGLSLossless, jpeg_ls, id="JPEG-LS"),
    pytest.param(JPEG2000Lossless, jpeg_2000, id="JPEG 2000"),
    pytest.param(HTJ2KLossless, high_throughput, id="HTJ2K Lossless"),
    pytest.param(HTJ2KLosslessRPCL, high_throughput, id="HTJ2K Lossless RPCL"),
    pytest.param(HTJ2K, high_throughput, id="HTJ2K"),
    pytest.param(RLELossless, rle, id="RLE"),
]


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecodePool]:
    with DecodePool() as pool:
        yield pool


def picture(seed: int = 0) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 4000, size=(64, 80)).astype(np.uint16)


def compressed(image: Dataset, syntax: UID, frames: list[bytes], *, fragments: int = 1) -> None:
    image.file_meta.TransferSyntaxUID = syntax
    image.PixelData = encapsulate(frames, fragments_per_frame=fragments)
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True


@pytest.mark.parametrize(("syntax", "encode"), CODECS)
def test_lossless_codecs_give_the_stored_values(
    decoders: DecodePool, tmp_path: Path, syntax: UID, encode: Encode
) -> None:
    images = axial_series(12)
    for seed, image in enumerate(images):
        set_pixels(image, picture(seed))
        compressed(image, syntax, [encode(picture(seed))], fragments=2)
    array = build_volume(write(tmp_path, images), decoders=decoders).volume.array_zyx
    assert all((array[k] == picture(k).astype(np.int32) - 1024).all() for k in range(12))


@pytest.mark.parametrize(("syntax", "encode"), CODECS)
@pytest.mark.parametrize("keep", [0.5, 0.02])
def test_cut_streams_name_the_instance(
    decoders: DecodePool, tmp_path: Path, syntax: UID, encode: Encode, keep: float
) -> None:
    images = axial_series(12)
    for image in images:
        set_pixels(image, picture())
        compressed(image, syntax, [encode(picture())])
    stream = encode(picture())
    compressed(images[5], syntax, [stream[: int(len(stream) * keep)]])
    with pytest.raises(NotAnalysable, match=f"pixel data of instance {images[5].SOPInstanceUID} cannot be decoded"):
        build_volume(write(tmp_path, images), decoders=decoders)


@pytest.mark.parametrize(("syntax", "encode"), CODECS)
def test_a_stream_of_another_size_is_refused(decoders: DecodePool, tmp_path: Path, syntax: UID, encode: Encode) -> None:
    def edit(image: Dataset) -> None:
        set_pixels(image, picture())
        compressed(image, syntax, [encode(np.zeros((640, 80), dtype=np.uint16))])

    with pytest.raises(NotAnalysable, match="cannot be decoded: the compressed stream"):
        build_volume(write(tmp_path, axial_series(12, edit=edit)), decoders=decoders)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_encodings_give_the_stored_values(decoders: DecodePool, tmp_path: Path, syntax: UID) -> None:
    def edit(image: Dataset) -> None:
        set_pixels(image, picture())
        image.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            image.PixelData = picture().astype(">u2").tobytes()
        image["PixelData"].VR = "OW"

    array = build_volume(write(tmp_path, axial_series(12, edit=edit)), decoders=decoders).volume.array_zyx
    assert (array == picture().astype(np.int32) - 1024).all()


@pytest.mark.parametrize("fragments", [1, 3])
def test_frames_of_compressed_enhanced_ct(decoders: DecodePool, tmp_path: Path, fragments: int) -> None:
    image = enhanced_ct([(0, 0, 2.0 * n) for n in range(12)], rescale_intercepts=[0] * 12)
    frames = [np.full((64, 80), n, dtype=np.uint16) for n in range(12)]
    image.Rows, image.Columns = 64, 80
    compressed(image, RLELossless, [rle(frame) for frame in frames], fragments=fragments)
    array = build_volume(write(tmp_path, [image]), decoders=decoders).volume.array_zyx
    assert (array == np.arange(12)[:, None, None]).all()


def test_an_unknown_compression_is_told(decoders: DecodePool, tmp_path: Path) -> None:
    images = axial_series(12)
    for image in images:
        compressed(image, UID("1.2.840.10008.1.2.4.100"), [b"\0\0\1\xb3" * 8])  # MPEG-2
    with pytest.raises(NotAnalysable, match="no decoder for its transfer syntax"):
        build_volume(write(tmp_path, images), decoders=decoders)
