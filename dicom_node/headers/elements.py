"""A bounded walk over an encoded data set: where the wanted elements lie, and nothing else.

Owns the encoding rules of PS3.5 section 7 as far as finding elements needs them. Knows no attribute's meaning, makes
no objects for what nobody asked for, never recurses, and never puts received bytes into an error text:
a general parser turns a few hundred hostile bytes into gigabytes (nesting, empty items, error messages).
"""

import struct
from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from mmap import mmap
from types import MappingProxyType
from typing import Final, NamedTuple

MAXIMUM_DEPTH = 64
"""Open sequences and items at one point. Real objects (SR trees) stay far below; ours to choose."""
MAXIMUM_ELEMENTS = 500_000
"""Elements and items looked at in one walk, two seconds of work: an Enhanced CT of 5000 frames holds about 400,000."""
REMEMBERED_HEADS = 4096
"""Tag, VR and length, as eight bytes; the images of a series have a few hundred of them in common."""

PIXEL_DATA = 0x7FE00010
PIXEL_DATA_TAGS = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_OUT_OF_PLACE = "an element stands twice, or behind the pixels"
_VRS_WITH_LONG_LENGTH = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""Value representations with 4-byte length in explicit VR (PS3.5 table 7.1-1)."""
_VRS_WITH_SHORT_LENGTH = frozenset(
    "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()  # noqa: SIM905 - reads like the table
)
"""Value representations with 2-byte length in explicit VR (PS3.5 table 7.1-2)."""
_VR_NAMES: Final = MappingProxyType(
    {vr.encode("ascii"): vr for vr in sorted(_VRS_WITH_LONG_LENGTH | _VRS_WITH_SHORT_LENGTH)}
)

_SHORT_VR_NAMES: Final = MappingProxyType({vr.encode("ascii"): vr for vr in sorted(_VRS_WITH_SHORT_LENGTH)})
_PLAIN_HEAD = struct.Struct("<HH2sH")
"""Group, element, value representation, length of an element with 2-byte length in Explicit VR Little Endian."""

Encoded = bytes | mmap
"""Bytes that hold a data set: received ones, or a mapped file."""


class MalformedDataSet(ValueError):
    """The bytes do not follow PS3.5, or exceed the bounds above. The text is ours alone."""


class Encoding(NamedTuple):
    """How elements are written (PS3.5 sections 7.1.2, 7.1.3, 7.3)."""

    explicit_vr: bool = True
    little_endian: bool = True


class Element(NamedTuple):
    """Where the value of one element lies: ``encoded[start:stop]``. A tuple because many are made."""

    vr: str
    """Empty in implicit VR."""
    start: int
    stop: int
    """End of the value; the delimiter of an undefined length is left out."""
    undefined_length: bool
    encoding: Encoding
    """Of what is nested in it."""


@dataclass(slots=True, kw_only=True)
class _Open:
    """A sequence, a run of fragments or an item that the walk stands in."""

    tag: int
    holds_items: bool
    """Of a sequence or of fragments; false: elements."""
    stop: int | None
    """``None``: undefined length, ended by a delimiter."""
    limit: int
    """Where the nearest thing of known length around the position ends."""
    element: Element | None
    """The sequence element itself, to be given back once its end is known."""
    opaque: bool
    """Fragments of encapsulated pixel data: items hold no elements."""
    encoding: Encoding


class _Head(NamedTuple):
    """One element's, item's or delimiter's head; a tuple because one is made for every element."""

    tag: int
    vr: str
    length: int
    value: int


_IMPLICIT = Encoding(explicit_vr=False, little_endian=True)


@lru_cache(64)
def _plain_heads(_wanted: frozenset[int]) -> dict[bytes, tuple[int, int | None, str]]:
    """What has been seen by walks that look for the same tags: see ``_plain_head``."""
    return {}


def _plain_head(code: bytes, wanted: frozenset[int]) -> tuple[int, int | None, str] | None:
    """Size with its value, tag (``None`` unless wanted) and VR of a plain element; ``None`` where it is none."""
    if len(code) < _PLAIN_HEAD.size:
        return None
    group, number, vr_code, length = _PLAIN_HEAD.unpack(code)
    vr = _SHORT_VR_NAMES.get(vr_code)
    if vr is None or group == 0xFFFE:
        return None
    tag = group << 16 | number
    return 8 + length, tag if tag in wanted else None, vr


class ElementWalk:
    """Walks one encoded data set; the bound on its work spans all calls on the same object.

    All methods raise ``MalformedDataSet``.
    """

    def __init__(self, encoded: Encoded, encoding: Encoding, *, maximum_elements: int = MAXIMUM_ELEMENTS) -> None:
        self.encoded = encoded
        self.encoding = encoding
        self._budget = maximum_elements

    def find(
        self, wanted: frozenset[int], start: int, stop: int, *, encoding: Encoding | None = None, to_end: bool = False
    ) -> dict[int, Element]:
        """The top-level elements of ``encoded[start:stop]`` whose tag (group << 16 | element) is wanted.

        Ends at the pixel data, which is given back without a look at its bytes, so a length that
        reaches behind ``stop`` is cut there. ``to_end``: walk the pixel data and what follows as
        well, so that a truncated data set is an error.

        Tags ascend (PS3.5 section 7.1). A wanted one that stands twice, or behind the pixel data, is an error: where
        readers end decides which of two values they see.
        """
        found: dict[int, Element] = {}
        inside: list[_Open] = []
        before_pixels: int | None = None
        encoding = encoding or self.encoding
        position = start
        while True:
            while inside and inside[-1].stop is not None and position >= inside[-1].stop:
                self._close(inside, position, wanted, found)
            if not inside:
                position = self._plain_elements(position, stop, encoding, wanted, found)
                if position >= stop:
                    if before_pixels is not None:
                        self._require_only_pixels(islice(found, before_pixels, None))
                    return found
            here = inside[-1] if inside else None
            limit = here.limit if here else stop
            head = self._head(position, limit, here.encoding if here else encoding)
            if here is None and head.tag in PIXEL_DATA_TAGS:
                if not to_end:
                    end = limit if head.length == _UNDEFINED else min(head.value + head.length, limit)
                    found[head.tag] = self._element(head, end, encoding)
                    return found
                before_pixels = len(found) if before_pixels is None else before_pixels
            position = self._step(head, inside, limit, wanted, found, encoding)

    def _plain_elements(
        self, position: int, stop: int, encoding: Encoding, wanted: frozenset[int], found: dict[int, Element]
    ) -> int:
        """Take top-level elements with a short explicit length, which most are, and nothing else about them.

        Only faster than ``_step``, by a factor of ten: what is not quite plain (long and undefined lengths, the other
        encodings, the end, every fault) is left to it. Returns where the next element starts.
        """
        if not (encoding.explicit_vr and encoding.little_endian):
            return position
        encoded, budget = self.encoded, self._budget
        known = _plain_heads(wanted)
        while position + 8 <= stop and budget > 0:
            code = encoded[position : position + 8]
            head = known.get(code)
            if head is None:
                head = _plain_head(code, wanted)
                if head is None:
                    break
                if len(known) >= REMEMBERED_HEADS:
                    known.clear()
                known[code] = head
            size, tag, vr = head
            if position + size > stop:
                break
            budget -= 1
            if tag is not None:
                if tag in found:
                    raise MalformedDataSet(_OUT_OF_PLACE)
                found[tag] = Element(vr, position + 8, position + size, False, encoding)
            position += size
        self._budget = budget
        return position

    def items(self, sequence: Element, *, maximum: int) -> list[tuple[int, int]]:
        """Where the contents of a sequence's first items, or of fragments of pixel data, lie: (start, stop) each."""
        spans: list[tuple[int, int]] = []
        position = sequence.start
        while position < sequence.stop and len(spans) < maximum:
            head = self._head(position, sequence.stop, sequence.encoding)
            if head.tag == _SEQUENCE_END:
                break
            if head.tag != _ITEM:
                raise MalformedDataSet("a sequence holds something other than items")
            stop = self._end_of_item(head, sequence) if head.length == _UNDEFINED else head.value + head.length
            if stop > sequence.stop:
                raise MalformedDataSet("an item is longer than its sequence")
            spans.append((head.value, stop))
            position = stop + 8 if head.length == _UNDEFINED else stop
        return spans

    def _end_of_item(self, head: _Head, sequence: Element) -> int:
        """Position of the delimiter of an item with undefined length."""
        inside = [self._opened(head, sequence.stop, sequence.encoding)]
        position = head.value
        while inside:
            while inside[-1].stop is not None and position >= inside[-1].stop:
                self._close(inside, position, (), {})
            following = self._head(position, inside[-1].limit, inside[-1].encoding)
            position = self._step(following, inside, inside[-1].limit, (), {}, sequence.encoding)
        return position - 8

    def _step(
        self,
        head: _Head,
        inside: list[_Open],
        limit: int,
        wanted: Container[int],
        found: dict[int, Element],
        encoding: Encoding,
    ) -> int:
        """Take one element, item or delimiter; where the next one starts."""
        here = inside[-1] if inside else None
        if head.tag in (_ITEM_END, _SEQUENCE_END):
            if here is None or here.stop is not None or here.holds_items != (head.tag == _SEQUENCE_END):
                raise MalformedDataSet("a delimiter ends nothing")
            self._close(inside, head.value - 8, wanted, found)
            return head.value
        if (head.tag == _ITEM) != (here is not None and here.holds_items):
            raise MalformedDataSet("an item outside a sequence, or an element outside an item")
        end = head.value + head.length
        if head.length != _UNDEFINED and end > limit:
            raise MalformedDataSet("an element is longer than what encloses it: truncated?")
        nested = self._opened(head, limit, here.encoding if here else encoding) if self._opens(head, here) else None
        if nested is None:
            if not inside and head.tag in wanted:
                self._take(found, head.tag, self._element(head, end, encoding))
            return end
        if len(inside) >= MAXIMUM_DEPTH:
            raise MalformedDataSet("sequences are nested too deeply")
        inside.append(nested)
        return head.value

    @staticmethod
    def _opens(head: _Head, here: _Open | None) -> bool:
        """Whether there is something to walk into, or else a value to step over."""
        undefined = head.length == _UNDEFINED
        if head.tag == _ITEM:
            if here is not None and here.opaque and undefined:
                raise MalformedDataSet("a fragment of pixel data has no length")
            return here is None or not here.opaque
        if undefined and head.vr not in ("SQ", "UN", "", "OB", "OW"):
            raise MalformedDataSet("an undefined length where none is allowed")
        return undefined or head.vr == "SQ"

    def _opened(self, head: _Head, limit: int, encoding: Encoding) -> _Open:
        is_item = head.tag == _ITEM
        stop = None if head.length == _UNDEFINED else head.value + head.length
        element = self._element(head, head.value, encoding)
        return _Open(
            tag=head.tag,
            holds_items=not is_item,
            stop=stop,
            limit=limit if stop is None else stop,
            element=None if is_item else element,
            opaque=head.vr in ("OB", "OW"),
            encoding=encoding if is_item else element.encoding,
        )

    @staticmethod
    def _close(inside: list[_Open], position: int, wanted: Container[int], found: dict[int, Element]) -> None:
        closed = inside.pop()
        if closed.stop is not None and position != closed.stop:
            raise MalformedDataSet("an element reaches behind what encloses it")
        if not inside and closed.element is not None and closed.tag in wanted:
            element = closed.element
            ElementWalk._take(found, closed.tag, element._replace(stop=position))

    @staticmethod
    def _require_only_pixels(behind: Iterable[int]) -> None:
        if not PIXEL_DATA_TAGS.issuperset(behind):
            raise MalformedDataSet(_OUT_OF_PLACE)

    @staticmethod
    def _take(found: dict[int, Element], tag: int, element: Element) -> None:
        if tag in found:
            raise MalformedDataSet(_OUT_OF_PLACE)
        found[tag] = element

    @staticmethod
    def _element(head: _Head, stop: int, encoding: Encoding) -> Element:
        undefined = head.length == _UNDEFINED
        nested = _IMPLICIT if undefined and head.vr == "UN" else encoding
        return Element(vr=head.vr, start=head.value, stop=stop, undefined_length=undefined, encoding=nested)

    def _head(self, position: int, limit: int, encoding: Encoding) -> _Head:
        self._budget -= 1
        if self._budget < 0:
            raise MalformedDataSet("more elements than any image has")
        if position + 8 > limit:
            raise MalformedDataSet("ends inside an element: truncated?")
        order = "<" if encoding.little_endian else ">"
        group, number, length = struct.unpack_from(order + "HHI", self.encoded, position)
        tag = group << 16 | number
        if not encoding.explicit_vr or group == 0xFFFE:
            return _Head(tag=tag, vr="", length=length, value=position + 8)
        vr = _VR_NAMES.get(self.encoded[position + 4 : position + 6])
        if vr is None:
            raise MalformedDataSet("not a value representation: another transfer syntax?")
        if vr in _VRS_WITH_SHORT_LENGTH:
            (length,) = struct.unpack_from(order + "H", self.encoded, position + 6)
            return _Head(tag=tag, vr=vr, length=length, value=position + 8)
        if position + 12 > limit:
            raise MalformedDataSet("ends inside an element: truncated?")
        (length,) = struct.unpack_from(order + "I", self.encoded, position + 8)
        return _Head(tag=tag, vr=vr, length=length, value=position + 12)
