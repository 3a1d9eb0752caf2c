"""From the spool to a file of its own, as other programs read it."""

import os
from pathlib import Path

from dicom_node.records import Part10File
from dicom_node.spool.part10 import PREAMBLE_BYTES

COPIED_BYTES = 1024 * 1024


def extract(file: Part10File, target: Path) -> None:
    """Write a Part 10 file (PS3.10 section 7.1) with an empty preamble; ``target`` is replaced. Raises ``OSError``."""
    with file.path.open("rb", buffering=0) as source, target.open("wb") as extracted:
        stop = os.fstat(source.fileno()).st_size if file.size_bytes is None else file.start + file.size_bytes
        extracted.write(bytes(PREAMBLE_BYTES))
        position = file.start + PREAMBLE_BYTES
        while position < stop and (block := os.pread(source.fileno(), min(COPIED_BYTES, stop - position), position)):
            extracted.write(block)
            position += len(block)
