"""A spool on a local disk: one Part 10 file an instance, named by a hash of its UID.

Order of durability: temporary file, fsync, link to the final name (which never overwrites), fsync of the folder. The
name is a hash, because a UID from the network is no file name. The preamble is zeroed: received ones never reach a
disk (CVE-2019-11687); over C-STORE there is none to begin with.
"""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from dicom_node.errors import ResourceExhausted, StorageCorrupt
from dicom_node.spool.base import Stored
from dicom_node.spool.part10 import data_set_offset, file_head

TEMPORARY = ".part"
FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
SHARD_CHARACTERS = 2
"""256 folders: a folder stays small enough to list up to millions of instances."""
READ_BYTES = 1024 * 1024


class FileSpool:
    """Implements ``Spool`` below ``root``. Refuses new instances below ``minimum_free_bytes`` of free space."""

    def __init__(self, root: Path, *, minimum_free_bytes: int = 0) -> None:
        self._root = root
        self._minimum_free_bytes = minimum_free_bytes
        for shard in range(16**SHARD_CHARACTERS):
            (root / f"{shard:0{SHARD_CHARACTERS}x}").mkdir(parents=True, exist_ok=True)
        _sync_folder(root)
        _sync_folder(root.parent)

    def store(self, *, sop_instance_uid: str, sop_class_uid: str, transfer_syntax_uid: str, encoded: bytes) -> Stored:
        """See ``Spool.store``."""
        if shutil.disk_usage(self._root).free < self._minimum_free_bytes + len(encoded):
            raise ResourceExhausted("the disk of the spool is nearly full; make room or lower scp.minimum_free_mb")
        name = hashlib.sha256(sop_instance_uid.encode("ascii")).hexdigest()
        path = self._root / name[:SHARD_CHARACTERS] / f"{name}.dcm"
        stored = Stored(path=path, sha256=hashlib.sha256(encoded).hexdigest(), size_bytes=len(encoded))
        head = file_head(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        # Two associations may bring one instance at the same time: each has a temporary file of its own.
        temporary = path.with_name(f"{name}.{threading.get_ident()}{TEMPORARY}")
        try:
            with temporary.open("wb") as file:
                file.write(head)
                file.write(encoded)
                file.flush()
                os.fsync(file.fileno())
            self._publish(temporary, stored)
        except OSError as error:
            if error.errno in FULL_ERRORS:
                raise ResourceExhausted("the disk of the spool is full") from error
            raise
        finally:
            temporary.unlink(missing_ok=True)
        return stored

    def sweep(self) -> int:
        """See ``Spool.sweep``."""
        left_over = list(self._root.glob(f"*/*{TEMPORARY}"))
        for path in left_over:
            path.unlink()
        return len(left_over)

    def paths(self) -> Iterator[Path]:
        """See ``Spool.paths``."""
        return self._root.glob("*/*.dcm")

    def describe(self, path: Path) -> Stored:
        """See ``Spool.describe``."""
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as file:
            file.seek(data_set_offset(file))
            while block := file.read(READ_BYTES):
                digest.update(block)
                size += len(block)
        return Stored(path=path, sha256=digest.hexdigest(), size_bytes=size)

    def _publish(self, temporary: Path, stored: Stored) -> None:
        try:
            os.link(temporary, stored.path)
        except FileExistsError:
            # Stored before and not in the index (a crash in between), or at the same time by another association.
            if self.describe(stored.path).sha256 != stored.sha256:
                raise StorageCorrupt(
                    f"spool file {stored.path.name} holds other content than the instance that now has its UID"
                ) from None
        _sync_folder(stored.path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
