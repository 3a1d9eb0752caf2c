"""The trail in files: one message a line, bounded in size and number, for the node's user alone.

``audit.log`` is written; at its largest size it becomes ``audit.1.log``, that one ``audit.2.log``, and the last goes.
"""

import os
from collections.abc import Sequence
from pathlib import Path

CURRENT = "audit.log"
BYTES_PER_MB = 1024 * 1024
FOR_OWNER_ALONE, FOLDER_FOR_OWNER_ALONE = 0o600, 0o700


class AuditFiles:
    """Implements ``Sink``. Raises ``OSError`` where the folder cannot be made."""

    name = "files"
    batch = 200
    lost = 0

    def __init__(self, folder: Path, *, file_mb: int, files: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_FOR_OWNER_ALONE)
        self._folder = folder
        self._largest = file_mb * BYTES_PER_MB
        self._files = files

    def write(self, messages: Sequence[bytes]) -> None:
        """Append all and synchronise. Raises ``OSError``; then none of them is there."""
        if self._size() >= self._largest:
            self._rotate()
        # Opened for each batch: an operator may move the file away, and a disk may come back.
        descriptor = os.open(self._folder / CURRENT, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FOR_OWNER_ALONE)
        before = os.fstat(descriptor).st_size
        try:
            left = memoryview(b"".join(message + b"\n" for message in messages))
            while left:
                left = left[os.write(descriptor, left) :]
            os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Nothing is held open."""

    def _size(self) -> int:
        try:
            return (self._folder / CURRENT).stat().st_size
        except FileNotFoundError:
            return 0

    def _rotate(self) -> None:
        names = [CURRENT, *(f"audit.{number}.log" for number in range(1, self._files))]
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            if (self._folder / newer).exists():
                (self._folder / newer).replace(self._folder / older)
