"""Rows for durable instances, committed many at a time.

A commit for each instance would cost as much as its synchronised file. The file itself is the record that a restart
rebuilds the index from, so its row may come a moment later; who decides about studies asks for ``flush`` first. The
digest in the row takes as long as everything else that happens to a slice of CT; it is made here, from the file, while
its sender waits for nothing and the disk is synchronising the next one.
"""

import errno
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from dicom_node.errors import ResourceExhausted, StorageCorrupt
from dicom_node.index import Arrival
from dicom_node.records import InstanceFacts, StoredInstance
from dicom_node.spool import Spool

log = structlog.get_logger(__name__)

GATHER_S = 0.25
"""How long a row waits for others."""
RETRY_S = 1.0
"""Pause after a commit that failed."""
MAXIMUM_PENDING = 20_000
"""Rows in memory; more means that the database has not taken one for minutes, and nothing new is accepted."""
PATIENCE_S = 60.0
"""How long ``flush`` waits: twice as long as one writer of the database waits for another."""
_OF_THE_FILE = (errno.ENOENT, errno.EIO)


class InstanceIndex(Protocol):
    """The part of the index that takes rows (``dicom_node.index.Index``)."""

    def add_instances(self, arrivals: Sequence[Arrival]) -> Sequence[str]:
        """Commit rows, all or none. Returns the SOP Instance UIDs whose row there already names other content."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An instance that has just become durable."""

    facts: InstanceFacts
    path: Path
    received_at: datetime
    calling_ae: str


class Ledger:
    """One thread that commits what the threads of all associations note."""

    def __init__(self, spool: Spool, index: InstanceIndex) -> None:
        self._spool = spool
        self._index = index
        self._pending: list[Entry] = []
        self._noted = self._committed = 0
        self._hurry = self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)
        self._thread.start()

    def note(self, entry: Entry) -> None:
        """Take a row for an instance that is durable."""
        with self._changed:
            self._pending.append(entry)
            self._noted += 1
            if len(self._pending) == 1:
                self._changed.notify_all()

    def require_room(self) -> None:
        """Raise ``ResourceExhausted`` where the database takes no rows."""
        if len(self._pending) >= MAXIMUM_PENDING:
            raise ResourceExhausted("the index takes no rows; see the log of the node")

    def flush(self) -> None:
        """Return when everything that was noted before the call is committed. Raises ``ResourceExhausted``."""
        with self._changed:
            target = self._noted
            if self._committed >= target:
                return
            self._hurry = True
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._committed >= target, PATIENCE_S):
                raise ResourceExhausted("the index takes no rows; see the log of the node")

    def close(self) -> None:
        """Commit what is pending and end. What cannot be committed is found in the spool at the next start."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closing)
                if not self._pending:
                    return
                self._changed.wait_for(lambda: self._hurry or self._closing, GATHER_S)
                self._hurry = False
                batch = self._pending
                self._pending = []
            if self._commit(batch):
                continue
            with self._changed:
                self._pending = batch + self._pending
                if self._closing:
                    return
                self._changed.wait_for(lambda: self._closing, RETRY_S)

    def _commit(self, batch: Sequence[Entry]) -> bool:
        try:
            contradicted = self._index.add_instances([arrival for entry in batch for arrival in self._arrival(entry)])
        except Exception:
            log.exception("index_commit_failed", rows=len(batch))
            return False
        # Somebody replaced a file by hand: senders are held against the spool, and the row keeps what it says.
        for uid in contradicted:
            log.error("index_contradicts_spool", sop_instance_uid=uid)
        with self._changed:
            self._committed += len(batch)
            self._changed.notify_all()
        return True

    def _arrival(self, entry: Entry) -> Iterator[Arrival]:
        """The row; nothing where the file is gone or damaged by now, which must not hold up the others.

        Any other ``OSError`` is the machine's state, not the file's (no descriptor left, no memory): the row is tried
        again.
        """
        try:
            stored = self._spool.describe(entry.path)
        except (OSError, StorageCorrupt) as error:
            if isinstance(error, OSError) and error.errno not in _OF_THE_FILE:
                raise
            log.error("spool_file_unreadable", file=entry.path.name, reason=type(error).__name__)
            return
        instance = StoredInstance(
            facts=entry.facts, path=stored.path, sha256=stored.sha256, size_bytes=stored.size_bytes
        )
        yield Arrival(instance=instance, received_at=entry.received_at, calling_ae=entry.calling_ae)
