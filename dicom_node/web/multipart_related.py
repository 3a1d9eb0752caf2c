"""The parts of a multipart/related body (RFC 2387, RFC 2046; PS3.18 section 8.6.1.2), as blocks arrive.

Owns the limits on boundary, part headers and number of parts; holds no part's content. Knows nothing of DICOM.
"""

import re
from collections.abc import Callable
from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

MAXIMUM_BOUNDARY = 128
"""Characters. RFC 2046 section 5.1.1 allows 70; Orthanc's DICOMweb plugin makes 73."""
MAXIMUM_PREAMBLE_BYTES = 1024
"""Before the first delimiter, with that delimiter; ignored (RFC 2046 section 5.1.1)."""
MAXIMUM_PART_HEADERS = 8
MAXIMUM_PART_HEADER_BYTES = 1024


class MalformedMultipart(ValueError):
    """The body is not what RFC 2046 says. The text is ours alone."""


class TooManyParts(ValueError):
    """More parts than are allowed."""


class PartReceiver(Protocol):
    """Who takes the parts, one after the other."""

    def begin_part(self, media_type: str) -> None:
        """A part begins; ``media_type`` in lower case without parameters, empty where the part names none."""
        ...

    def write_part(self, block: bytes) -> None:
        """More of the part's content."""
        ...

    def end_part(self) -> None:
        """The part is whole."""
        ...


class RelatedParts:
    """Cuts a body into parts. What the receiver raises comes out of ``feed``."""

    def __init__(self, boundary: str, receiver: PartReceiver, *, maximum_parts: int) -> None:
        if not 0 < len(boundary) <= MAXIMUM_BOUNDARY or not boundary.isascii() or not boundary.isprintable():
            raise MalformedMultipart("the boundary is missing or not valid")
        self.parts = 0
        self.complete = False
        """The closing delimiter has come."""
        self._receiver = receiver
        self._maximum_parts = maximum_parts
        self._name = self._value = b""
        self._media_type = ""
        self._delimiter = b"--" + boundary.encode("ascii")
        self._first = re.compile(rb"(?:\A|\n)" + re.escape(self._delimiter) + rb"(--|[ \t]*\r\n)")
        self._preamble: bytes | None = b""
        """What came before the first delimiter; ``None`` after it."""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_begin": self._on_header_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": lambda: receiver.begin_part(self._media_type),
                "on_part_data": lambda block, start, stop: receiver.write_part(block[start:stop]),
                "on_part_end": receiver.end_part,
                "on_end": self._on_end,
            },
            max_header_count=MAXIMUM_PART_HEADERS,
            max_header_size=MAXIMUM_PART_HEADER_BYTES,
        )

    def feed(self, block: bytes) -> None:
        """The next bytes of the body. Raises ``MalformedMultipart`` and ``TooManyParts``."""
        if self._preamble is not None:
            block = self._after_preamble(self._preamble + block)
        try:
            self._parser.write(block)
        except FormParserError as error:
            raise MalformedMultipart("the body is no multipart message with the boundary of its head") from error

    def _after_preamble(self, began: bytes) -> bytes:
        """What the parser is to have of the beginning of a body: it takes no preamble and no padding by itself."""
        found = self._first.search(began, 0, MAXIMUM_PREAMBLE_BYTES)
        if found is not None:
            if self._delimiter in began[: found.start()]:  # a damaged one: what follows it is no preamble
                raise MalformedMultipart("the first delimiter is damaged")
            self._preamble = None
            return self._delimiter + found[1].lstrip(b" \t") + began[found.end() :]
        if len(began) >= MAXIMUM_PREAMBLE_BYTES:
            raise MalformedMultipart(f"no delimiter in the first {MAXIMUM_PREAMBLE_BYTES} bytes of the body")
        self._preamble = began
        return b""

    def _on_part_begin(self) -> None:
        self.parts += 1
        if self.parts > self._maximum_parts:
            raise TooManyParts(f"more than {self._maximum_parts} parts")
        self._media_type = ""

    def _on_header_begin(self) -> None:
        self._name = self._value = b""

    def _on_header_field(self, block: bytes, start: int, stop: int) -> None:
        self._name += block[start:stop]

    def _on_header_value(self, block: bytes, start: int, stop: int) -> None:
        self._value += block[start:stop]

    def _on_header_end(self) -> None:
        if self._name.lower() == b"content-type":
            self._media_type, _ = media_type(self._value.decode("latin-1"))

    def _on_end(self) -> None:
        self.complete = True


def media_type(header: str) -> tuple[str, Callable[[str], str]]:
    """A Content-Type header as type in lower case, and a question for its parameters (empty where absent)."""
    name, parameters = parse_options_header(header)
    return name.decode("latin-1").strip(), lambda key: parameters.get(key.encode("ascii"), b"").decode("latin-1")
