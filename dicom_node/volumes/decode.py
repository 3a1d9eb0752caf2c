"""From a frame's bytes to stored values: one decoder for each transfer syntax.

Owns which codec reads what, and the checks that a decoder does not make itself: the size that a stream claims is
held against the header before anything is allocated, and a stream without its end marker is refused where the
codec would fill the rest with grey. imagecodecs (libjpeg-turbo, CharLS, OpenJPEG, OpenJPH) is the one library here:
it gives up the GIL, so that threads share the work; measured on one 512² frame of JPEG Lossless: 1.0 ms on two threads,
GDCM 7.9 and pylibjpeg 12.3; and it reads the retired JPEG processes that need GDCM otherwise.

Codecs are C code on bytes from the network: ``decompressed`` runs in the processes of ``decode_pool``, never in the
node. Uncompressed frames have nothing to decode but a copy whose bounds are known, and stay in the node.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicom_node.volumes.stored_pixels import PixelLayout

JPEG_SPECTRAL_SELECTION = UID("1.2.840.10008.1.2.4.53")
"""Retired process 6 and 8; pydicom knows no decoder for it."""
JPEG_FULL_PROGRESSION = UID("1.2.840.10008.1.2.4.55")
"""Retired process 10 and 12; pydicom knows no decoder for it."""

_JPEG_START = b"\xff\xd8"
_JPEG_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""Start of frame of any process (ITU-T T.81 table B.1) or of JPEG-LS (ITU-T T.87 C.2.2)."""
_J2K_START = b"\xff\x4f\xff\x51"
"""SOC and SIZ (ITU-T T.800 A.4, A.5)."""
_END_OF_IMAGE = b"\xff\xd9"
"""EOI of JPEG and JPEG-LS, EOC of JPEG 2000."""
_DECODER_FAULTS = (RuntimeError, ValueError, TypeError, OSError)
"""What imagecodecs raises on damaged streams."""

Pixels = NDArray[np.int16] | NDArray[np.uint16]


class Fault(IntEnum):
    """Why a frame has no pixels. The number is what a decoder process answers."""

    words: str

    def __new__(cls, number: int, words: str) -> "Fault":
        """A fault with the words that people are shown."""
        member = int.__new__(cls, number)
        member._value_ = number
        member.words = words
        return member

    NO_DECODER = 1, "no decoder for its transfer syntax"
    DAMAGED = 2, "the compressed stream is damaged"
    OTHER_PICTURE = 3, "the compressed stream holds another picture than its header names"
    FEWER_BYTES = 4, "fewer bytes than its header names"
    TRUNCATED = 5, "the compressed stream is truncated"
    NO_STREAM = 6, "the compressed stream is not of the kind that its transfer syntax names"
    NO_FRAME_HEADER = 7, "the compressed stream has no frame header"
    TOO_MUCH_MEMORY = 8, "the decoder asked for more memory than it may have"
    TOO_SLOW = 9, "the decoder did not come to an end in the time that it may have"
    CRASHED = 10, "the decoder crashed"


class UndecodablePixels(ValueError):
    """The text says why and holds no received bytes; the caller names the instance."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.words)
        self.fault = fault


def decompressed(encoded: bytes, layout: PixelLayout, transfer_syntax_uid: str) -> Pixels:
    """Stored values of a compressed frame, shape (rows, columns), sign and unused bits in order.

    Raises ``UndecodablePixels``; a damaged stream may also take the process with it.
    """
    decoder = _DECODERS.get(UID(transfer_syntax_uid))
    if decoder is None:
        raise UndecodablePixels(Fault.NO_DECODER)
    try:
        decoded = decoder(encoded, layout)
    except MemoryError as error:
        raise UndecodablePixels(Fault.TOO_MUCH_MEMORY) from error
    except _DECODER_FAULTS as error:
        if isinstance(error, UndecodablePixels):
            raise
        raise UndecodablePixels(Fault.DAMAGED) from error
    if decoded.shape != (layout.rows, layout.columns) or decoded.dtype.kind not in "iu" or decoded.itemsize > 2:
        raise UndecodablePixels(Fault.OTHER_PICTURE)
    return _as_stored(decoded, layout)


def uncompressed(encoded: bytes, layout: PixelLayout) -> Pixels:
    """Stored values of an uncompressed frame, as ``decompressed``. Raises ``UndecodablePixels``."""
    if len(encoded) != layout.frame_bytes:
        raise UndecodablePixels(Fault.FEWER_BYTES)
    order = "<" if layout.little_endian else ">"
    raw = np.frombuffer(encoded, dtype=f"{order}u{layout.bits_allocated // 8}").reshape(layout.rows, layout.columns)
    return _as_stored(raw, layout)


def _as_stored(raw: NDArray[Any], layout: PixelLayout) -> Pixels:
    """Bits above Bits Stored may hold overlays (retired) or nothing: cut them off, extend the sign."""
    unused = 16 - layout.bits_stored
    if raw.dtype.itemsize == 1:
        wide = raw.view(np.uint8).astype(np.uint16)
    else:
        native = raw.astype(raw.dtype.newbyteorder("="), copy=False)
        wide = native.view(np.uint16)
    if layout.signed:
        extended: NDArray[np.int16] = (wide << unused).view(np.int16) >> unused if unused else wide.view(np.int16)
        return extended
    return wide & np.uint16(0xFFFF >> unused) if unused else wide


def _jpeg(encoded: bytes, layout: PixelLayout) -> NDArray[Any]:
    return imagecodecs.jpeg8_decode(_checked_jpeg(encoded, layout))


def _jpeg_ls(encoded: bytes, layout: PixelLayout) -> NDArray[Any]:
    return imagecodecs.jpegls_decode(_checked_jpeg(encoded, layout))


def _jpeg_2000(encoded: bytes, layout: PixelLayout) -> NDArray[Any]:
    """Reference grid size minus image offset is the picture (ITU-T T.800 B.2)."""
    if not encoded.startswith(_J2K_START) or len(encoded) < 42:
        raise UndecodablePixels(Fault.NO_STREAM)
    across, down, left, top = (int.from_bytes(encoded[at : at + 4], "big") for at in (8, 12, 16, 20))
    components = int.from_bytes(encoded[40:42], "big")
    _refuse_other_size(layout, rows=down - top, columns=across - left, components=components)
    _refuse_without_end(encoded)
    return imagecodecs.jpeg2k_decode(encoded)


def _rle(encoded: bytes, layout: PixelLayout) -> NDArray[Any]:
    """PS3.5 annex G."""
    decoded = imagecodecs.dicomrle_decode(encoded, dtype=f"<u{layout.bits_allocated // 8}", out=layout.frame_bytes)
    if len(decoded) != layout.frame_bytes:
        raise UndecodablePixels(Fault.TRUNCATED)
    values = np.frombuffer(decoded, dtype=f"<u{layout.bits_allocated // 8}")
    return values.reshape(layout.rows, layout.columns)


def _checked_jpeg(encoded: bytes, layout: PixelLayout) -> bytes:
    """The stream, once its frame header fits; raises otherwise. A walk along the marker segments (T.81 B.1.1)."""
    if not encoded.startswith(_JPEG_START):
        raise UndecodablePixels(Fault.NO_STREAM)
    position = 2
    while position + 10 <= len(encoded) and encoded[position] == 0xFF:
        marker = encoded[position + 1]
        if marker in _JPEG_FRAME_MARKERS:
            rows = int.from_bytes(encoded[position + 5 : position + 7], "big")
            columns = int.from_bytes(encoded[position + 7 : position + 9], "big")
            _refuse_other_size(layout, rows=rows, columns=columns, components=encoded[position + 9])
            _refuse_without_end(encoded)
            return encoded
        fill = marker == 0xFF
        position += 1 if fill else 2 + int.from_bytes(encoded[position + 2 : position + 4], "big")
    raise UndecodablePixels(Fault.NO_FRAME_HEADER)


def _refuse_other_size(layout: PixelLayout, *, rows: int, columns: int, components: int) -> None:
    if (rows, columns, components) != (layout.rows, layout.columns, 1):
        raise UndecodablePixels(Fault.OTHER_PICTURE)


def _refuse_without_end(encoded: bytes) -> None:
    """Fragments are padded to even length with one zero (PS3.5 A.4); some writers pad with more."""
    if not encoded.rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise UndecodablePixels(Fault.TRUNCATED)


_DECODERS: Mapping[UID, Callable[[bytes, PixelLayout], NDArray[Any]]] = MappingProxyType(
    {
        JPEGBaseline8Bit: _jpeg,
        JPEGExtended12Bit: _jpeg,
        JPEG_SPECTRAL_SELECTION: _jpeg,
        JPEG_FULL_PROGRESSION: _jpeg,
        JPEGLossless: _jpeg,
        JPEGLosslessSV1: _jpeg,
        JPEGLSLossless: _jpeg_ls,
        JPEGLSNearLossless: _jpeg_ls,
        JPEG2000Lossless: _jpeg_2000,
        JPEG2000: _jpeg_2000,
        HTJ2KLossless: _jpeg_2000,
        HTJ2KLosslessRPCL: _jpeg_2000,
        HTJ2K: _jpeg_2000,
        RLELossless: _rle,
    }
)
