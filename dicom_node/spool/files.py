"""A spool on a local disk: one Part 10 file an instance, named by a hash of its UID.

Order of durability: the whole of a temporary file, a link to the final name (which never overwrites), fsync of it.
One fsync makes both durable: journals keep their order, and the link went into the journal before (ext4, XFS; Btrfs
writes the names of a file with it). Two would take twice the time. The price: after a power cut, and only then, a file
that nobody was told of may lie incomplete under its final name. It has no row in the index, so nobody reads it, and the
next start looks at every such file (``app``) and sets it aside.

The name is a hash, because a UID from the network is no file name. The preamble is zeroed: received ones never reach a
disk (CVE-2019-11687); over C-STORE there is none to begin with.
"""

import hashlib
import itertools
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from dicom_node.errors import ResourceExhausted
from dicom_node.spool.base import SpoolWriter, Stored
from dicom_node.spool.durability import set_aside, sync_folder, synchronise
from dicom_node.spool.part10 import data_set_offset, file_head
from dicom_node.spool.writers import TEMPORARY, NewFile, RepeatedFile

SHARD_CHARACTERS = 2
"""256 folders: a folder stays small enough to list up to millions of instances."""
READ_BYTES = 256 * 1024


class FileSpool:
    """Implements ``Spool`` below ``root``. Refuses new instances below ``minimum_free_bytes`` of free space.

    ``synchronise=False`` is for measuring what durability costs, and for nothing else.
    """

    def __init__(self, root: Path, *, minimum_free_bytes: int = 0, synchronise: bool = True) -> None:
        self._root = root
        self._minimum_free_bytes = minimum_free_bytes
        self._synchronise = synchronise
        self._serial = itertools.count()
        self._buffers = threading.local()
        for shard in range(16**SHARD_CHARACTERS):
            (root / f"{shard:0{SHARD_CHARACTERS}x}").mkdir(parents=True, exist_ok=True)
        sync_folder(root)
        sync_folder(root.parent)

    def begin(self, *, sop_instance_uid: str, sop_class_uid: str, transfer_syntax_uid: str) -> SpoolWriter:
        """See ``Spool.begin``."""
        name = hashlib.sha256(sop_instance_uid.encode("ascii")).hexdigest()
        path = f"{self._root}/{name[:SHARD_CHARACTERS]}/{name}.dcm"
        if os.path.exists(path):  # noqa: PTH110 - once for every instance, and several times as fast as pathlib
            return RepeatedFile(Path(path))
        self._require_room()
        # Several associations, and several processes, may bring one instance at the same time.
        temporary = f"{path}.{os.getpid()}-{next(self._serial)}{TEMPORARY}"
        return NewFile(
            path,
            temporary,
            head=file_head(sop_class_uid, sop_instance_uid, transfer_syntax_uid),
            require_room=self._require_room,
            synchronise=self._synchronise,
        )

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
        if not hasattr(self._buffers, "view"):  # fresh memory for every file costs as much as reading it
            self._buffers.view = memoryview(bytearray(READ_BYTES))
        digest, size, view = hashlib.sha256(), 0, self._buffers.view
        with path.open("rb", buffering=0) as file:
            file.seek(data_set_offset(file))
            while count := file.readinto(view):
                digest.update(view[:count])
                size += count
        return Stored(path=path, sha256=digest.hexdigest(), size_bytes=size)

    def set_aside(self, path: Path) -> Path:
        """See ``Spool.set_aside``."""
        return set_aside(path)

    def synchronise(self, path: Path) -> None:
        """See ``Spool.synchronise``."""
        with path.open("rb", buffering=0) as file:
            synchronise(file.fileno(), path)

    def _require_room(self) -> None:
        if shutil.disk_usage(self._root).free < self._minimum_free_bytes:
            raise ResourceExhausted("the disk of the spool is nearly full; make room or lower scp.minimum_free_mb")
