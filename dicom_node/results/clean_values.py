"""Received bytes of one attribute as a value that may be written again: valid, or empty.

We read tolerantly and write strictly: scanners and gateways leave dates with dots, ages without zeros, names with
control characters and texts beyond their length, and none of that may keep a result from being written. Value
representations: PS3.5 section 6.2; character sets: PS3.3 C.12.1.1.2.
"""

import math
import re
import warnings
from collections.abc import Callable, Mapping
from datetime import date
from types import MappingProxyType
from typing import Final

from pydicom import charset, config
from pydicom.valuerep import validate_value

MAXIMUM_CHARACTERS: Final = MappingProxyType({"SH": 16, "LO": 64, "ST": 1024, "LT": 10240, "CS": 16})
"""Per value (PS3.5 table 6.2-1)."""
MAXIMUM_NAME_GROUP = 64
"""Characters of each component group of a person name."""
NAME_GROUPS = 3
"""Alphabetic, ideographic, phonetic."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]+")
_ESCAPE = b"\x1b"
_DELIMITERS = {ord(character) for character in "\r\n\t\f\\^="}
"""Where code extensions fall back to the first character set (PS3.5 section 6.1.2.5.3)."""


def known_character_sets(raw: bytes) -> tuple[str, ...]:
    """Specific Character Set (0008,0005) without what is no defined term; common misspellings are mended."""
    terms = [term.strip(" \0").upper() for term in raw.decode("ascii", errors="replace").split("\\")]
    terms = [re.sub(r"^ISO[ _-]?IR[ _-]?(\d+)$", r"ISO_IR \1", term) for term in terms]
    known = tuple(term for term in terms if term in charset.python_encoding)
    return known if any(known) else ()


def decode(raw: bytes, character_sets: tuple[str, ...]) -> str:
    """The text that the bytes stand for. Never raises; what cannot be decoded becomes a replacement character."""
    if _ESCAPE in raw:
        # Code extensions (ISO 2022) need pydicom's decoder, which warns about every flaw.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encodings = charset.convert_encodings(list(character_sets or ("ISO_IR 6",)))
            return charset.decode_bytes(raw, encodings, _DELIMITERS)
    named = [term for term in character_sets if term]
    if not named or charset.python_encoding[named[0]] == "iso8859":
        # No, or the default, character set, yet bytes beyond it: UTF-8 where it is that, else Latin-1.
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    return raw.decode(charset.python_encoding[named[0]], errors="replace")


def cleaned(vr: str, text: str) -> str:
    """The first value of the text in a form that is valid for the value representation, or an empty text."""
    clean = _CLEANERS[vr](text)
    try:
        validate_value(vr, clean, config.RAISE)
    except ValueError:
        return ""
    return clean


def _first_value(text: str) -> str:
    return _CONTROL.sub("", text.split("\\")[0]).strip()


def _cut(vr: str) -> Callable[[str], str]:
    return lambda text: _first_value(text)[: MAXIMUM_CHARACTERS[vr]].strip()


def _long(vr: str) -> Callable[[str], str]:
    return lambda text: _CONTROL_BUT_LINES.sub("", text).strip()[: MAXIMUM_CHARACTERS[vr]]


def _code(text: str) -> str:
    clean = _first_value(text).upper()
    return clean if re.fullmatch(r"[A-Z0-9_ ]{0,16}", clean) else ""


def _name(text: str) -> str:
    groups = _first_value(text).split("=")[:NAME_GROUPS]
    return "=".join(group[:MAXIMUM_NAME_GROUP].strip() for group in groups).rstrip("=")


def _date(text: str) -> str:
    match = re.fullmatch(r"(\d{4})[-./]?(\d\d)[-./]?(\d\d)", _first_value(text))
    if match is None:
        return ""
    year, month, day = (int(part) for part in match.groups())
    try:
        return date(year, month, day).strftime("%Y%m%d").rjust(8, "0")
    except ValueError:
        return ""


def _time(text: str) -> str:
    match = re.fullmatch(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(\.\d{1,6})?\d*)?)?", _first_value(text))
    if match is None or int(match[1]) > 23 or int(match[2] or 0) > 59 or int(match[3] or 0) > 60:
        return ""
    return "".join(part or "" for part in match.groups())


def _age(text: str) -> str:
    """As it stands, or not at all: "0Y" mended to "000Y" would be another age than that of the images (dcentvfy)."""
    clean = _first_value(text)
    return clean if re.fullmatch(r"\d{3}[DWMY]", clean) else ""


def _decimal(text: str) -> str:
    clean = _first_value(text)
    try:
        usable = math.isfinite(float(clean))
    except ValueError:
        return ""
    return clean if usable and len(clean) <= 16 else ""


_CLEANERS: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {
        "AS": _age,
        "CS": _code,
        "DA": _date,
        "DS": _decimal,
        "LO": _cut("LO"),
        "LT": _long("LT"),
        "PN": _name,
        "SH": _cut("SH"),
        "ST": _long("ST"),
        "TM": _time,
    }
)
