"""Received value bytes as Python values: bounded, tolerant, never raising.

``None``, or empty, is what an absent, empty or malformed value becomes; who needs it says so in words of its own.
Value representations: PS3.5 section 6.2.
"""

import re
import struct
from functools import lru_cache

from pydicom.charset import python_encoding

from dicom_node.headers.elements import Element, ElementWalk

MAXIMUM_VALUE_BYTES = 4096
"""A longer value counts as malformed: the attributes that we read hold a few values of at most 64 characters."""
MAXIMUM_NUMBER = 1e9
"""A larger DS counts as malformed: positions are in mm, and 1e300 would only overflow in somebody's arithmetic."""
MAXIMUM_TEXT = 64
"""Characters kept of a text: LO holds at most 64 (PS3.5 table 6.2-1)."""
MAXIMUM_CODES = 32
"""Values taken of a CS and the like; Image Type (PS3.3 C.7.6.1.1.2) and the character sets hold a few."""
REMEMBERED_VALUES = 1024
"""Of each kind. Hostile values can take 4 MiB, which is ``MAXIMUM_VALUE_BYTES`` of each, and 7 MiB that codes become:
``MAXIMUM_CODES`` of ``MAXIMUM_TEXT`` characters, two bytes each."""
MAXIMUM_UID = 64
"""Characters of a UID (PS3.5 section 9.1)."""

_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e]+")


def is_valid_uid(text: str) -> bool:
    """Whether the text is a UID by PS3.5 section 9.1: at most 64 of ``0-9.``, no empty component, no leading zero."""
    return len(text) <= MAXIMUM_UID and _UID.fullmatch(text) is not None


class Values:
    """The typed values of a set of found elements."""

    def __init__(self, walk: ElementWalk, elements: dict[int, Element], *, text_encoding: str = "ascii") -> None:
        self._walk = walk
        self._elements = elements
        self._text_encoding = text_encoding

    def __contains__(self, tag: int) -> bool:
        return tag in self._elements

    def raw(self, tag: int) -> bytes:
        """The value's bytes; empty where absent or longer than any value that we read."""
        element = self._elements.get(tag)
        if element is None or element.stop - element.start > MAXIMUM_VALUE_BYTES:
            return b""
        return self._walk.encoded[element.start : element.stop]

    def codes(self, tag: int) -> tuple[str, ...]:
        """The first ``MAXIMUM_CODES`` values of CS and the like: upper case ASCII without padding."""
        return _codes(self.raw(tag))

    def code(self, tag: int) -> str:
        """The first value of CS and the like."""
        return next(iter(self.codes(tag)), "")

    def text(self, tag: int) -> str:
        """Free text without control characters, cut to 64 characters."""
        return _text(self.raw(tag), self._text_encoding)

    def uid(self, tag: int) -> str:
        """The UID, or empty where it is missing or not valid."""
        return _valid_uid(self.raw(tag))

    def decimals(self, tag: int, count: int) -> tuple[float, ...] | None:
        """Exactly ``count`` numbers of a DS, none beyond ``MAXIMUM_NUMBER``."""
        return _decimals(self.raw(tag), count)

    def decimal(self, tag: int) -> float | None:
        """The one number of a DS."""
        numbers = self.decimals(tag, 1)
        return numbers[0] if numbers else None

    def integer(self, tag: int) -> int | None:
        """The one number of an IS."""
        text = self.raw(tag).decode("ascii", errors="replace").strip(" \0")
        return int(text) if _INTEGER.fullmatch(text) else None

    def unsigned_short(self, tag: int) -> int | None:
        """The one number of a US."""
        return self._short(tag, "H")

    def signed_short(self, tag: int) -> int | None:
        """The one number of an SS."""
        return self._short(tag, "h")

    def _short(self, tag: int, code: str) -> int | None:
        raw = self.raw(tag)
        if len(raw) != 2:
            return None
        order = "<" if self._elements[tag].encoding.little_endian else ">"
        (number,) = struct.unpack(order + code, raw)
        return int(number)

    def items(self, tag: int, wanted: frozenset[int], *, maximum: int) -> "list[Values]":
        """The wanted elements of each of a sequence's first items; empty where absent."""
        element = self._elements.get(tag)
        if element is None or element.vr not in ("SQ", "UN", ""):
            return []
        return [
            Values(
                self._walk,
                self._walk.find(wanted, start, stop, encoding=element.encoding),
                text_encoding=self._text_encoding,
            )
            for start, stop in self._walk.items(element, maximum=maximum)
        ]

    def first_item(self, tag: int, wanted: frozenset[int]) -> "Values":
        """The wanted elements of a sequence's first item; without any where there is none."""
        items = self.items(tag, wanted, maximum=1)
        return items[0] if items else Values(self._walk, {})


# The images of a series say the same of most things, so what was decoded once is kept.


@lru_cache(REMEMBERED_VALUES)
def _codes(raw: bytes) -> tuple[str, ...]:
    parts = raw.decode("ascii", errors="replace").split("\\", MAXIMUM_CODES)[:MAXIMUM_CODES]
    texts = [_UNPRINTABLE.sub("", part).strip()[:MAXIMUM_TEXT].upper() for part in parts]
    return tuple(texts) if any(texts) else ()


@lru_cache(REMEMBERED_VALUES)
def _text(raw: bytes, encoding: str) -> str:
    return _UNPRINTABLE.sub(" ", raw.decode(encoding, errors="replace")).strip()[:MAXIMUM_TEXT]


@lru_cache(REMEMBERED_VALUES)
def _valid_uid(raw: bytes) -> str:
    text = raw.decode("ascii", errors="replace").rstrip("\0 ")
    return text if is_valid_uid(text) else ""


@lru_cache(REMEMBERED_VALUES)
def _decimals(raw: bytes, count: int) -> tuple[float, ...] | None:
    texts = [part.strip(" \0") for part in raw.decode("ascii", errors="replace").split("\\")]
    if len(texts) != count or not all(_DECIMAL.fullmatch(text) for text in texts):
        return None
    numbers = tuple(float(text) for text in texts)
    return numbers if all(abs(number) <= MAXIMUM_NUMBER for number in numbers) else None


def text_encoding(character_sets: tuple[str, ...]) -> str:
    """Python's codec for Specific Character Set (0008,0005); ASCII for what is not a defined term (PS3.3 C.12.1.1.2).

    With code extensions the last set decodes what the earlier ones write, too.
    """
    named = [term for term in character_sets if term]
    return python_encoding.get(named[-1], "ascii") if named else "ascii"
