"""The trail in files: one message a line, bounded in size and number, for the node's user alone.

``audit.log`` is written; at its largest size it becomes ``audit.1.log``, that one ``audit.2.log``, and the last goes.
Several processes may write (the node, and a command beside it): one after the other, by a lock on the folder.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
        with self._alone():
            if self._size() >= self._largest:
                self._rotate()
            self._append(b"".join(message + b"\n" for message in messages))

    def close(self) -> None:
        """Nothing is held open."""

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Without it, one process would cut off what the other has just appended, or both would rotate."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _append(self, content: bytes) -> None:
        # Opened for each batch: an operator may move the file away, and a disk may come back.
        descriptor = os.open(self._folder / CURRENT, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FOR_OWNER_ALONE)
        before = os.fstat(descriptor).st_size
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
        finally:
            os.close(descriptor)

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
