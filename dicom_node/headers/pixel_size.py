"""Whether pixel data is as large as the header says (PS3.3 C.7.6.3.1, PS3.5 sections 8.1, 8.2 and A.4).

A general reader gives back what is there of truncated pixel data without a word; here that is refused at the door.
"""

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.headers.elements import PIXEL_DATA, PIXEL_DATA_TAGS, Element, ElementWalk, MalformedDataSet
from dicom_node.headers.values import Values

_SAMPLES = 0x00280002
_PHOTOMETRIC = 0x00280004
_FRAMES = 0x00280008
_ROWS = 0x00280010
_COLUMNS = 0x00280011
_BITS_ALLOCATED = 0x00280100
_FLOAT_PIXEL_DATA, _DOUBLE_PIXEL_DATA = 0x7FE00008, 0x7FE00009
_BITS_OF_FLOATS = {_FLOAT_PIXEL_DATA: 32, _DOUBLE_PIXEL_DATA: 64}
PIXEL_SIZE_TAGS = PIXEL_DATA_TAGS | {_SAMPLES, _PHOTOMETRIC, _FRAMES, _BITS_ALLOCATED}
"""What has to be found beside rows and columns."""
_NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
_SUBSAMPLED = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})
"""Two samples a pixel instead of three (PS3.3 C.7.6.3.1.2)."""


def check_pixel_size(walk: ElementWalk, found: dict[int, Element], transfer_syntax_uid: str) -> None:
    """Raise ``MalformedDataSet`` where pixel data is shorter than the header says, or encoded as it must not be."""
    tag = next((tag for tag in (PIXEL_DATA, *_BITS_OF_FLOATS) if tag in found), None)
    top = Values(walk, found)
    rows, columns = top.unsigned_short(_ROWS), top.unsigned_short(_COLUMNS)
    if tag is None or rows is None or columns is None:
        return
    pixels = found[tag]
    frames = max(top.integer(_FRAMES) or 1, 1)
    if transfer_syntax_uid in _NATIVE:
        if pixels.undefined_length:
            raise MalformedDataSet("fragments in a native transfer syntax")
        samples = top.unsigned_short(_SAMPLES) or 1
        if samples == 3 and top.code(_PHOTOMETRIC) in _SUBSAMPLED:
            samples = 2
        bits = _BITS_OF_FLOATS.get(tag) or top.unsigned_short(_BITS_ALLOCATED) or 0
        if (pixels.stop - pixels.start) * 8 < rows * columns * samples * frames * bits:
            raise MalformedDataSet("pixel data is shorter than its header says")
        return
    if tag != PIXEL_DATA or not pixels.undefined_length:
        raise MalformedDataSet("native pixel data in a compressed syntax")
    offset_table_and_fragments = walk.items(pixels, maximum=frames + 1)
    if len(offset_table_and_fragments) < frames + 1:
        raise MalformedDataSet("pixel data has fewer fragments than frames")
