"""From the spool to a file of its own, as other programs read it."""

import errno
import os
from pathlib import Path

from dicom_node.records import Part10File
from dicom_node.spool.part10 import PREAMBLE_BYTES

COPIED_BYTES = 1024 * 1024
FOR_OWNER_ALONE = 0o600
"""They hold a patient's data; who may read them is for their owner to say."""


def extract(file: Part10File, target: Path) -> None:
    """Write a Part 10 file (PS3.10 section 7.1) with an empty preamble; ``target`` is replaced once it is whole.

    Raises ``OSError``; ``target`` is as it was then.
    """
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    with file.path.open("rb", buffering=0) as source:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(unfinished, flags, FOR_OWNER_ALONE)
        try:
            with os.fdopen(descriptor, "wb") as extracted:
                extracted.write(bytes(PREAMBLE_BYTES))
                position = file.start + PREAMBLE_BYTES
                stop = os.fstat(source.fileno()).st_size if file.size_bytes is None else file.start + file.size_bytes
                while position < stop:
                    block = os.pread(source.fileno(), min(COPIED_BYTES, stop - position), position)
                    if not block:
                        raise OSError(errno.EIO, "its end is missing", str(file.path))
                    extracted.write(block)
                    position += len(block)
                extracted.flush()
                os.fsync(descriptor)
            unfinished.replace(target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
