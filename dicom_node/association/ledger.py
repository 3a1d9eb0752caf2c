"""Rows for durable instances, committed many at a time.

A commit for each instance would cost as much as its synchronised file. The file itself is the record that a restart
rebuilds the index from, so its row may come a moment later; who decides about studies asks for ``flush`` first.
"""

import threading
from collections.abc import Sequence
from typing import Protocol

import structlog

from dicom_node.errors import ResourceExhausted
from dicom_node.index import Arrival
from dicom_node.records import Stored, StoredInstance

log = structlog.get_logger(__name__)

GATHER_S = 0.25
"""How long a row waits for others."""
RETRY_S = 1.0
"""Pause after a commit that failed."""
MAXIMUM_PENDING = 40_000
"""Instances without a row and their frames, which facts hold one by one: 20,000 slices. More means that the database
has not taken a row for long, and nothing new is accepted."""
PATIENCE_S = 60.0
"""How long ``flush`` waits: twice as long as one writer of the database waits for another."""


class InstanceIndex(Protocol):
    """The part of the index that takes rows (``dicom_node.index.Index``)."""

    def add_instances(self, arrivals: Sequence[Arrival]) -> Sequence[str]:
        """Commit rows, all or none. Returns the SOP Instance UIDs whose row there already names other content."""
        ...

    def held(self, sop_instance_uid: str) -> Stored | None:
        """Where the durable instance of that UID lies. Raises ``StorageCorrupt``."""
        ...


class Ledger:
    """One thread that commits what the threads of all associations note."""

    def __init__(self, index: InstanceIndex) -> None:
        self._index = index
        self._pending: list[Arrival] = []
        self._uncommitted: dict[str, StoredInstance] = {}
        self._noted = self._committed = 0
        self._waiting = 0
        """Instances and frames noted and not committed, in ``_pending`` or on their way."""
        self._hurry = self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)
        self._thread.start()

    def note(self, arrival: Arrival) -> None:
        """Take a row for an instance that is durable."""
        with self._changed:
            self._pending.append(arrival)
            self._uncommitted[arrival.instance.facts.sop_instance_uid] = arrival.instance
            self._noted += 1
            self._waiting += _weight(arrival)
            if len(self._pending) == 1:
                self._changed.notify_all()

    def held(self, sop_instance_uid: str) -> Stored | None:
        """Where the durable instance of that UID lies, committed or not. Raises ``StorageCorrupt``."""
        instance = self._uncommitted.get(sop_instance_uid)
        if instance is None:
            return self._index.held(sop_instance_uid)
        return Stored(file=instance.file, digest=instance.digest, size_bytes=instance.size_bytes)

    def require_room(self) -> None:
        """Raise ``ResourceExhausted`` where the database takes no rows."""
        if self._waiting >= MAXIMUM_PENDING:
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

    def _commit(self, batch: Sequence[Arrival]) -> bool:
        try:
            contradicted = self._index.add_instances(batch)
        except Exception:
            log.exception("index_commit_failed", rows=len(batch))
            return False
        # Another process took other content under this UID in the same moment: both are in the spool, and the row keeps
        # what it says.
        for uid in contradicted:
            log.error("index_contradicts_spool", sop_instance_uid=uid)
        with self._changed:
            self._committed += len(batch)
            self._waiting -= sum(map(_weight, batch))
            for arrival in batch:
                uid = arrival.instance.facts.sop_instance_uid
                if self._uncommitted.get(uid) is arrival.instance:  # else a newer one waits, in a damaged one's place
                    del self._uncommitted[uid]
            self._changed.notify_all()
        return True


def _weight(arrival: Arrival) -> int:
    return 1 + len(arrival.instance.facts.frames)
