"""How the frames of an instance are stored: layout, padding, and where each frame's bytes lie.

Owns the Image Pixel module (PS3.3 C.7.6.3) and encapsulation (PS3.5 A.4) as far as CT needs them. Everything that
a header claims is held against the bytes that are there before anybody allocates memory for it.
"""

from dataclasses import dataclass

from dicom_node.errors import InstanceRefused, NotAnalysable
from dicom_node.headers.elements import PIXEL_DATA, Element, ElementWalk, MalformedDataSet
from dicom_node.headers.facts import MAXIMUM_FRAMES
from dicom_node.headers.part10 import EncodedDataSet, open_part10
from dicom_node.headers.values import Values
from dicom_node.records import Part10File

_SAMPLES_PER_PIXEL = 0x00280002
_PHOTOMETRIC = 0x00280004
_NUMBER_OF_FRAMES = 0x00280008
_ROWS = 0x00280010
_COLUMNS = 0x00280011
_BITS_ALLOCATED = 0x00280100
_BITS_STORED = 0x00280101
_HIGH_BIT = 0x00280102
_PIXEL_REPRESENTATION = 0x00280103
_PADDING_VALUE = 0x00280120
_PADDING_RANGE_LIMIT = 0x00280121
_RESCALE_TYPE = 0x00281054
_PIXEL_VALUE_TRANSFORMATION = 0x00289145
_SHARED_GROUPS = 0x52009229
_PER_FRAME_GROUPS = 0x52009230
_WANTED = frozenset(
    {
        _SAMPLES_PER_PIXEL, _PHOTOMETRIC, _NUMBER_OF_FRAMES, _ROWS, _COLUMNS, _BITS_ALLOCATED, _BITS_STORED, _HIGH_BIT,
        _PIXEL_REPRESENTATION, _PADDING_VALUE, _PADDING_RANGE_LIMIT, _RESCALE_TYPE, _SHARED_GROUPS, _PER_FRAME_GROUPS,
        PIXEL_DATA,
    }
)  # fmt: skip
_HOUNSFIELD = "HU"
MAXIMUM_FRAGMENTS = 100_000
"""Of encapsulated pixel data: ten for each frame of the longest acquisition. More, and the frames do not add up."""

Span = tuple[int, int]
"""First byte, and the one after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLayout:
    """How one stored value is written."""

    rows: int
    columns: int
    bits_allocated: int
    """8 or 16."""
    bits_stored: int
    signed: bool
    little_endian: bool

    @property
    def frame_bytes(self) -> int:
        """Of one uncompressed frame."""
        return self.rows * self.columns * self.bits_allocated // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPixels:
    """The frames of one instance: ``frames[n]`` lists the spans whose bytes, joined, are frame n."""

    sop_instance_uid: str
    file: Part10File
    transfer_syntax_uid: str
    encapsulated: bool
    layout: PixelLayout
    padding: tuple[int, int] | None
    """Stored values, lowest and highest, that mean "no measurement" (PS3.3 C.7.5.1.1.2)."""
    frames: tuple[tuple[Span, ...], ...]
    inflated: bytes | None
    """The pixel data where the transfer syntax is deflated: spans count in here, not in the Part 10 file."""

    def frame(self, number: int) -> bytes:
        """The bytes of a frame, counted from 0."""
        spans = self.frames[number]
        if self.inflated is not None:
            return b"".join(self.inflated[start:stop] for start, stop in spans)
        with self.file.path.open("rb", buffering=0) as file:
            parts = []
            for start, stop in spans:
                file.seek(self.file.start + start)
                parts.append(file.read(stop - start))
        return parts[0] if len(parts) == 1 else b"".join(parts)


def read_stored_pixels(file: Part10File, sop_instance_uid: str) -> StoredPixels:
    """Find the frames of a Part 10 file. Raises ``NotAnalysable`` where they are none that a CT volume can use."""
    try:
        with open_part10(file) as data_set:
            walk = data_set.walk()
            found = data_set.find(walk, _WANTED)
            return _stored_pixels(data_set, walk, found, file, sop_instance_uid)
    except (InstanceRefused, MalformedDataSet, OSError) as error:
        raise NotAnalysable(f"instance {sop_instance_uid} cannot be read") from error


def _stored_pixels(
    data_set: EncodedDataSet, walk: ElementWalk, found: dict[int, Element], file: Part10File, uid: str
) -> StoredPixels:
    values = Values(walk, found)
    layout = _layout(values, uid, little_endian=data_set.encoding.little_endian)
    _refuse_other_units(values, uid)
    pixels = found.get(PIXEL_DATA)
    if pixels is None:
        raise NotAnalysable(f"instance {uid} has no pixel data")
    frame_count = values.integer(_NUMBER_OF_FRAMES) or 1
    if not 1 <= frame_count <= MAXIMUM_FRAMES:
        raise NotAnalysable(f"instance {uid} names a number of frames that no CT has")
    inflated = data_set.encoded[pixels.start : pixels.stop] if isinstance(data_set.encoded, bytes) else None
    if pixels.undefined_length:
        frames = _encapsulated_frames(walk, pixels, frame_count, uid)
    else:
        first = pixels.start if inflated is None else 0
        frames = _native_frames(first, pixels.stop - pixels.start, frame_count, layout, uid)
    return StoredPixels(
        sop_instance_uid=uid,
        file=file,
        transfer_syntax_uid=data_set.transfer_syntax_uid,
        encapsulated=pixels.undefined_length,
        layout=layout,
        padding=_padding(values, layout),
        frames=frames,
        inflated=inflated,
    )


def _layout(values: Values, uid: str, *, little_endian: bool) -> PixelLayout:
    if (values.unsigned_short(_SAMPLES_PER_PIXEL) or 1) != 1 or not values.code(_PHOTOMETRIC).startswith("MONOCHROME"):
        raise NotAnalysable(f"instance {uid} is a colour picture, not CT numbers")
    rows, columns = values.unsigned_short(_ROWS), values.unsigned_short(_COLUMNS)
    allocated, stored = values.unsigned_short(_BITS_ALLOCATED), values.unsigned_short(_BITS_STORED)
    if not rows or not columns or allocated not in (8, 16) or not stored or not 1 <= stored <= allocated:
        raise NotAnalysable(f"instance {uid} has no readable pixel layout of 8 or 16 bits")
    if values.unsigned_short(_HIGH_BIT) not in (None, stored - 1):
        raise NotAnalysable(f"instance {uid} stores its values in the upper bits (retired form), which is not read")
    return PixelLayout(
        rows=rows,
        columns=columns,
        bits_allocated=allocated,
        bits_stored=stored,
        signed=values.unsigned_short(_PIXEL_REPRESENTATION) == 1,
        little_endian=little_endian,
    )


def _refuse_other_units(values: Values, uid: str) -> None:
    """Rescale Type (0028,1054) of CT is HU where it is named at all (PS3.3 C.8.2.1.1.2)."""
    types = {values.code(_RESCALE_TYPE)}
    wanted = frozenset({_PIXEL_VALUE_TRANSFORMATION})
    for groups in (_SHARED_GROUPS, _PER_FRAME_GROUPS):
        for item in values.items(groups, wanted, maximum=MAXIMUM_FRAMES):
            types.add(item.first_item(_PIXEL_VALUE_TRANSFORMATION, frozenset({_RESCALE_TYPE})).code(_RESCALE_TYPE))
    if types - {"", _HOUNSFIELD}:
        raise NotAnalysable(f"instance {uid} does not hold Hounsfield units: its Rescale Type is another one")


def _padding(values: Values, layout: PixelLayout) -> tuple[int, int] | None:
    read = values.signed_short if layout.signed else values.unsigned_short
    value = read(_PADDING_VALUE)
    if value is None:
        return None
    limit = read(_PADDING_RANGE_LIMIT)
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def _native_frames(first: int, present: int, count: int, layout: PixelLayout, uid: str) -> tuple[tuple[Span, ...], ...]:
    """Frames of equal size one after the other, from the byte ``first`` on (PS3.5 8.2)."""
    if present < count * layout.frame_bytes:
        raise NotAnalysable(
            f"pixel data of instance {uid} is truncated: {present} bytes where its header asks for "
            f"{count * layout.frame_bytes}"
        )
    size = layout.frame_bytes
    return tuple(((first + n * size, first + (n + 1) * size),) for n in range(count))


def _encapsulated_frames(walk: ElementWalk, pixels: Element, count: int, uid: str) -> tuple[tuple[Span, ...], ...]:
    """One fragment a frame, or all fragments for the one frame, or by the Basic Offset Table (PS3.5 A.4)."""
    try:
        table, *fragments = walk.items(pixels, maximum=MAXIMUM_FRAGMENTS)
    except (MalformedDataSet, ValueError) as error:
        raise NotAnalysable(f"pixel data of instance {uid} is truncated or damaged") from error
    if fragments and count == 1:
        return (tuple(fragments),)
    if fragments and count == len(fragments):
        return tuple((fragment,) for fragment in fragments)
    raw = walk.encoded[table[0] : table[1]]
    offsets = [int.from_bytes(raw[n : n + 4], "little") for n in range(0, len(raw) - 3, 4)]
    starts = {start - 8 - table[1]: number for number, (start, _) in enumerate(fragments)}
    if len(offsets) != count or offsets != sorted(set(offsets)) or any(offset not in starts for offset in offsets):
        raise NotAnalysable(f"pixel data of instance {uid} does not hold the {count} frames that its header names")
    firsts = [starts[offset] for offset in offsets]
    return tuple(
        tuple(fragments[first:after]) for first, after in zip(firsts, [*firsts[1:], len(fragments)], strict=True)
    )
