"""From a C-STORE request to a durable instance, or to the status that says why not.

Success is answered only when the bytes are synchronised to disk and the index row is committed. The
statuses are those of ``StoreStatus``.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from dicom_node.errors import InstanceRefused, StorageCorrupt, StoreStatus
from dicom_node.headers import facts_from_data_set, is_valid_uid
from dicom_node.records import InstanceFacts, StoredInstance
from dicom_node.spool import Spool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedInstance:
    """One C-STORE request, its data set exactly as it came over the wire."""

    calling_ae: str
    sop_class_uid: str
    sop_instance_uid: str
    context_sop_class_uid: str
    """Abstract syntax of the presentation context that carried it."""
    transfer_syntax_uid: str
    encoded: bytes


class InstanceIndex(Protocol):
    """The part of the index that intake needs (``dicom_node.index.Index``)."""

    def find_instance(self, sop_instance_uid: str) -> StoredInstance | None:
        """The durable instance of that UID."""
        ...

    def add_instance(self, instance: StoredInstance, *, received_at: datetime, calling_ae: str) -> str:
        """Commit a row; returns the SHA-256 that the UID has afterwards."""
        ...


class Intake:
    """Makes instances durable. Called from the thread of every association."""

    def __init__(self, spool: Spool, index: InstanceIndex) -> None:
        self._spool = spool
        self._index = index

    def __call__(self, received: ReceivedInstance) -> InstanceFacts:
        """Returns when the instance is durable. Raises ``InstanceRefused`` and ``ResourceExhausted``."""
        facts = _checked_facts(received)
        known = self._index.find_instance(facts.sop_instance_uid)
        if known is not None:
            _refuse_other_content(known.sha256, hashlib.sha256(received.encoded).hexdigest())
            return facts  # a repeat: durable already, also while the disk is full
        try:
            stored = self._spool.store(
                sop_instance_uid=facts.sop_instance_uid,
                sop_class_uid=facts.sop_class_uid,
                transfer_syntax_uid=received.transfer_syntax_uid,
                encoded=received.encoded,
            )
        except StorageCorrupt as error:
            raise InstanceRefused(StoreStatus.OTHER_CONTENT, "this SOP Instance UID holds other content") from error
        instance = StoredInstance(facts=facts, path=stored.path, sha256=stored.sha256, size_bytes=stored.size_bytes)
        held = self._index.add_instance(instance, received_at=datetime.now(UTC), calling_ae=received.calling_ae)
        _refuse_other_content(held, stored.sha256)  # another association may have been faster
        return facts


def _refuse_other_content(held: str, received: str) -> None:
    if held != received:
        raise InstanceRefused(StoreStatus.OTHER_CONTENT, "this SOP Instance UID holds other content")


def _checked_facts(received: ReceivedInstance) -> InstanceFacts:
    """The facts of an instance whose command, context and data set agree. Raises ``InstanceRefused``."""
    if not is_valid_uid(received.sop_instance_uid):
        raise InstanceRefused(StoreStatus.INVALID_SOP_INSTANCE, "Affected SOP Instance UID is missing or not valid")
    if received.sop_class_uid != received.context_sop_class_uid:
        raise InstanceRefused(StoreStatus.MISMATCH, "SOP class is not that of the presentation context")
    facts = facts_from_data_set(received.encoded, received.transfer_syntax_uid)
    if facts.sop_class_uid != received.sop_class_uid:
        raise InstanceRefused(StoreStatus.MISMATCH, "SOP class of data set and command differ")
    if facts.sop_instance_uid != received.sop_instance_uid:
        raise InstanceRefused(StoreStatus.MISMATCH, "SOP instance of data set and command differ")
    return facts
