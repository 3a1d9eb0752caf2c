"""A spool on a local disk: append-only segments, each a row of Part 10 files.

A file of its own for every instance would cost more than everything else that happens to it: making an entry in a
folder takes a file system longer than writing half a megabyte. So an instance is appended to a segment, which its
thread has for itself, and is durable after one fdatasync of it. Each is a whole Part 10 file with its length and digest
in the preamble (``record_head``); received preambles never reach a disk (CVE-2019-11687), over C-STORE there are none.

Segments are named at random and used by one process only; a start leaves those that are there as they are and begins
new ones. Who wants files of their own uses ``dicom-node extract``.
"""

import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import structlog

from dicom_node.errors import ResourceExhausted
from dicom_node.records import Part10File, Stored
from dicom_node.spool import salvage
from dicom_node.spool.base import Found, SpoolWriter
from dicom_node.spool.durability import sync_folder
from dicom_node.spool.part10 import file_meta
from dicom_node.spool.record_head import IDENTITY_BYTES, identity_of
from dicom_node.spool.segment import WANT, RecordWriter, Segment, full_disk_told

log = structlog.get_logger(__name__)

SUFFIX = ".segment"
SEGMENT_BYTES = 1024**3
"""Nothing more is appended to a segment of that size: files that can still be copied and looked at."""
IDLE_DESCRIPTORS = 8
"""Segments kept open while nobody appends to them."""
ROOM_CHECK_S = 1.0
"""How long what was asked of the file system about free space is believed."""


class SegmentSpool:
    """Implements ``Spool`` below ``root``. Refuses new instances below ``minimum_free_bytes`` of free space.

    ``synchronise=False`` is for measuring what durability costs, and for nothing else.
    """

    def __init__(
        self,
        root: Path,
        *,
        minimum_free_bytes: int = 0,
        synchronise: bool = True,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self._minimum_free_bytes = minimum_free_bytes
        self._synchronise = synchronise
        self._segment_bytes = segment_bytes
        self._open: list[Segment] = []
        """Free to be appended to; the last one was used last, so a lone sender stays in one segment."""
        self._resting: list[Segment] = []
        """The same, without a descriptor."""
        self._lock = threading.Lock()
        self._room_until = 0.0
        sync_folder(root.parent)

    def begin(self, *, sop_instance_uid: str, sop_class_uid: str, transfer_syntax_uid: str) -> SpoolWriter:
        """See ``Spool.begin``."""
        if time.monotonic() >= self._room_until:
            self._require_room()
        meta = file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        return RecordWriter(
            self._free_segment(),
            meta=meta,
            give_back=self._give_back,
            require_room=self._require_room,
            synchronise=self._synchronise,
        )

    def unlisted(self, ends: Mapping[Path, int], *, alone: bool) -> Iterator[Found]:
        """See ``Spool.unlisted``."""
        for path in sorted(self.root.glob(f"{'[0-9a-f]' * (2 * IDENTITY_BYTES)}{SUFFIX}")):
            yield from salvage.found_in(path, identity_of(path), start=ends.get(path, 0), mend=alone, search=alone)

    def describe(self, file: Part10File) -> Stored:
        """See ``Spool.describe``."""
        return salvage.described(file, identity_of(file.path))

    def close(self) -> None:
        """See ``Spool.close``."""
        with self._lock:
            while self._open:
                _close(self._open.pop())

    def _free_segment(self) -> Segment:
        with self._lock:
            if self._open:
                return self._open.pop()
            resting = self._resting.pop() if self._resting else None
        if resting is None:
            return self._new_segment()
        try:
            resting.descriptor = os.open(resting.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in WANT:
                with self._lock:
                    self._resting.append(resting)
                raise ResourceExhausted(f"the spool cannot open a file ({error.strerror})") from error
            log.error("segment_unreadable", file=resting.path.name, reason=error.strerror)  # somebody took it away
            return self._new_segment()
        return resting

    def _new_segment(self) -> Segment:
        identity = secrets.token_bytes(IDENTITY_BYTES)
        path = self.root / f"{identity.hex()}{SUFFIX}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise ResourceExhausted(f"the spool cannot make a file ({error.strerror})") from error
        segment = Segment(path, identity, descriptor)
        if self._synchronise:
            try:
                with full_disk_told():
                    sync_folder(self.root)
            except BaseException:
                _close(segment)
                raise
        return segment

    def _give_back(self, segment: Segment) -> None:
        """A record has ended."""
        usable = not segment.spoiled and segment.end < self._segment_bytes
        with self._lock:
            if usable and len(self._open) < IDLE_DESCRIPTORS:
                self._open.append(segment)
                return
        _close(segment)
        if usable and segment.end:
            with self._lock:
                self._resting.append(segment)

    def _require_room(self) -> None:
        if shutil.disk_usage(self.root).free < self._minimum_free_bytes:
            raise ResourceExhausted("the disk of the spool is nearly full; make room or lower scp.minimum_free_mb")
        self._room_until = time.monotonic() + ROOM_CHECK_S


def _close(segment: Segment) -> None:
    """Never raises: what ends an instance must not be hidden by what becomes of its file."""
    try:
        os.close(segment.descriptor)
        if not segment.end:
            segment.path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("segment_left", file=segment.path.name, reason=error.strerror)
