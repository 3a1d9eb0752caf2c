"""fsync, and what becomes of a file that it failed for.

The kernel tells once of pages that it could not write, and calls them clean afterwards: the next fsync succeeds,
whatever the disk holds. So a file whose fsync failed must not stay where a later try would find it and trust it.
"""

import errno
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
    """Make a published file durable. Raises ``OSError``; the file is set aside then.

    Whoever brought it first may have failed and taken its name away meanwhile, and somebody else may have brought a new
    file of that name: what is open here counts for nothing then, and the new one is left alone.
    """
    try:
        os.fsync(descriptor)
    except OSError:
        if is_named(descriptor, path):
            set_aside(path)
        raise
    if not is_named(descriptor, path):
        raise FileNotFoundError(errno.ENOENT, "taken away while it was held against a repeat", path.name)


def is_named(descriptor: int, path: Path) -> bool:
    """Whether ``path`` still names the file that is open, or nothing, or another one. Raises ``OSError``."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
