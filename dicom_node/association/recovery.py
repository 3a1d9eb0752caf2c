"""What a crash left in the spool without a row in the index: rows for what is whole, out of the way with the rest.

A file is durable before its row is committed, so a crash in between leaves files that the index does not know; senders
may have been told of them. What a kill between link and fsync left may be whole and in the page cache only, so it is
synchronised before its row says that it is there. What a power cut left incomplete nobody was told of, and it must not
stand in the way of its instance, which its sender brings again.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from dicom_node.errors import InstanceRefused, StorageCorrupt
from dicom_node.headers import read_instance_facts
from dicom_node.index import Arrival
from dicom_node.records import StoredInstance
from dicom_node.spool import Spool

log = structlog.get_logger(__name__)

RECOVERED = "recovered"
"""Stands in the index where other instances have their calling AE title."""
ROWS_A_COMMIT = 1000


class KnownPaths(Protocol):
    """The part of the index that recovery needs (``dicom_node.index.Index``)."""

    def known_paths(self) -> frozenset[Path]:
        """Every spool file that has a row."""
        ...

    def add_instances(self, arrivals: Sequence[Arrival]) -> Sequence[str]:
        """Commit rows."""
        ...


def index_unlisted(spool: Spool, index: KnownPaths) -> int:
    """Add the rows that are missing; only while nothing stores. Returns how many that was."""
    known = index.known_paths()
    recovered: list[Arrival] = []
    for path in spool.paths():
        if path in known:
            continue
        try:
            stored, facts = spool.describe(path), read_instance_facts(path, whole=True)
            spool.synchronise(path)
        except (InstanceRefused, StorageCorrupt) as refusal:
            log.error("spool_file_unreadable", file=path.name, reason=str(refusal))
            _set_aside(spool, path)
            continue
        except OSError as error:  # one file must not keep the node from starting; the next start tries it again
            log.error("spool_file_unreadable", file=path.name, reason=error.strerror)
            continue
        instance = StoredInstance(facts=facts, path=stored.path, sha256=stored.sha256, size_bytes=stored.size_bytes)
        recovered.append(Arrival(instance=instance, received_at=datetime.now(UTC), calling_ae=RECOVERED))
    for start in range(0, len(recovered), ROWS_A_COMMIT):
        index.add_instances(recovered[start : start + ROWS_A_COMMIT])
    if recovered:
        log.warning("index_rebuilt", instances=len(recovered))
    return len(recovered)


def _set_aside(spool: Spool, path: Path) -> None:
    try:
        spool.set_aside(path)
    except OSError as error:
        log.error("spool_file_not_set_aside", file=path.name, reason=error.strerror)
