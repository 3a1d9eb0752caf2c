"""Which processes store into a spool at the moment: a node, and the commands that run beside it.

A lock on a file of the spool (flock), shared by everybody who stores, so that nobody sweeps away what another process
is just writing. The operating system lets go of it when a process dies.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = "in-use"


class Occupancy:
    """Holds the shared lock from the constructor to ``close``; waits while another process sweeps."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._file = (root / LOCK_FILE).open("ab")
        fcntl.flock(self._file, fcntl.LOCK_SH)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no other process stores; while the block runs none can begin to."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self._file, fcntl.LOCK_SH)  # the try cost us the one that we had
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def close(self) -> None:
        """Let go."""
        self._file.close()
