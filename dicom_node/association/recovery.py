"""What a crash left in the spool without a row in the index: rows for what is whole, out of the way with the rest.

An instance is durable before its row is committed, so a crash in between leaves instances that the index does not know;
senders may have been told of them. Only what lies behind the last known one of each file is looked at, or everything
where the index is lost.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from dicom_node.errors import InstanceRefused, StorageCorrupt
from dicom_node.headers import read_instance_facts
from dicom_node.index import Arrival
from dicom_node.records import Stored, StoredInstance
from dicom_node.spool import Spool

log = structlog.get_logger(__name__)

ROWS_A_COMMIT = 1000


class KnownEnds(Protocol):
    """The part of the index that recovery needs (``dicom_node.index.Index``)."""

    def known_ends(self) -> Mapping[Path, int]:
        """Of every spool file that has rows, where the last of its instances ends."""
        ...

    def held(self, sop_instance_uid: str) -> Stored | None:
        """Where the durable instance of that UID lies."""
        ...

    def add_instances(self, arrivals: Sequence[Arrival]) -> Sequence[str]:
        """Commit rows."""
        ...


def index_unlisted(spool: Spool, index: KnownEnds, *, alone: bool) -> int:
    """Add the rows that are missing. Returns how many that was.

    ``alone``: nobody else stores, so what was not finished is removed.
    """
    recovered: list[Arrival] = []
    count = 0
    for found in spool.unlisted(index.known_ends(), alone=alone):
        stored = found.stored
        try:
            facts = read_instance_facts(stored.file, whole=True)
            if _is_held(spool, index, facts.sop_instance_uid, stored):
                continue
        except (InstanceRefused, OSError) as refusal:
            log.error("record_unreadable", file=stored.file.path.name, position=stored.file.start, reason=str(refusal))
            continue
        instance = StoredInstance(facts=facts, file=stored.file, digest=stored.digest, size_bytes=stored.size_bytes)
        recovered.append(Arrival(instance=instance, received_at=found.received_at, calling_ae=found.calling_ae))
        count += 1
        if len(recovered) == ROWS_A_COMMIT:
            _commit(index, recovered)
    if recovered:
        _commit(index, recovered)
    if count:
        log.warning("index_rebuilt", instances=count)
    return count


def _is_held(spool: Spool, index: KnownEnds, sop_instance_uid: str, stored: Stored) -> bool:
    """Whether the index names another place where the same lies, intact: two processes took it."""
    held = index.held(sop_instance_uid)
    if held is None or held.digest != stored.digest:
        return False
    try:
        return spool.describe(held.file).digest == stored.digest
    except (OSError, StorageCorrupt):
        return False


def _commit(index: KnownEnds, recovered: list[Arrival]) -> None:
    for uid in index.add_instances(recovered):
        log.error("index_contradicts_spool", sop_instance_uid=uid)
    recovered.clear()
