"""fsync, and what becomes of a file that it failed for.

The kernel tells once of pages that it could not write, and calls them clean afterwards: the next fsync succeeds,
whatever the disk holds. So a file whose fsync failed must not stay where a later try would find it and trust it.
"""

import os
from pathlib import Path

DAMAGED = ".damaged"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises ``OSError``."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(path: Path) -> Path:
    """See ``Spool.set_aside``."""
    target = path.with_suffix(DAMAGED)
    path.replace(target)
    sync_folder(path.parent)
    return target


def synchronise(descriptor: int, path: Path) -> None:
    """Make a published file durable. Raises ``OSError``; the file is set aside then."""
    try:
        os.fsync(descriptor)
    except OSError:
        set_aside(path)
        raise
