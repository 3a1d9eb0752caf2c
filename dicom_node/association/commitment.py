"""Requests for storage commitment (PS3.4 Annex J): what a peer asks, and what may truthfully be answered. Pure.

The node never deletes an instance, so what it commits to it keeps until somebody removes it on purpose.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum

from dicom_node.association.requests import CommitmentRequest
from dicom_node.errors import CommitmentRefused, InstanceRefused
from dicom_node.headers.elements import MalformedDataSet
from dicom_node.headers.part10 import data_set_from_wire
from dicom_node.headers.values import Values
from dicom_node.records import CommitmentReport, SopReference

WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Storage Commitment Push Model SOP Instance (PS3.4 section J.3.5)."""
REQUEST_COMMITMENT = 1
"""Action Type ID (PS3.4 table J.3-1)."""
MAXIMUM_REFERENCES = 20_000
"""Instances in one request: six times the longest CT study we know of."""
MAXIMUM_WAITING = 64
"""Requests of one peer whose report it has not taken yet: each is a retry of its own, and a megabyte in the index."""

_TRANSACTION_UID = 0x00081195
_REFERENCED_SOP_SEQUENCE = 0x00081199
_REFERENCED_SOP_CLASS_UID = 0x00081150
_REFERENCED_SOP_INSTANCE_UID = 0x00081155
_WANTED = frozenset({_TRANSACTION_UID, _REFERENCED_SOP_SEQUENCE})
_WANTED_IN_ITEM = frozenset({_REFERENCED_SOP_CLASS_UID, _REFERENCED_SOP_INSTANCE_UID})


class ActionStatus(IntEnum):
    """How a request is answered at once (PS3.7 section 10.1.4.1.10); the instances themselves are reported on later."""

    meaning: str

    def __new__(cls, status: int, meaning: str) -> "ActionStatus":
        """A status with the sentence that the conformance statement prints."""
        member = int.__new__(cls, status)
        member._value_ = status
        member.meaning = meaning
        return member

    SUCCESS = 0x0000, "The request is kept, durably; a report follows"
    PROCESSING_FAILURE = 0x0110, "A fault of the node; its log says more"
    NO_SUCH_INSTANCE = 0x0112, "Requested SOP Instance UID is not the well-known one"
    INVALID_ARGUMENT = (
        0x0115,
        "The action information is damaged, or lacks valid UIDs; or its Transaction UID is in use",
    )
    NO_SUCH_ACTION = 0x0123, "Action Type ID is not 1"
    NOT_AUTHORISED = 0x0124, "No address for reports is configured for this peer"
    RESOURCE_LIMITATION = (
        0x0213,
        f"More than {MAXIMUM_REFERENCES:,} instances in one request, or 4 MiB; "
        f"or {MAXIMUM_WAITING} reports wait for this peer already",
    )


class FailureReason(IntEnum):
    """Why an instance is not committed: Failure Reason (0008,1197), PS3.3 section C.14.1.1."""

    meaning: str

    def __new__(cls, reason: int, meaning: str) -> "FailureReason":
        """A reason with the sentence that the conformance statement prints."""
        member = int.__new__(cls, reason)
        member._value_ = reason
        member.meaning = meaning
        return member

    PROCESSING_FAILURE = 0x0110, "The instance was received, and what lies on the disk now is not what was received"
    NO_SUCH_INSTANCE = 0x0112, "The node does not hold this instance: send it again"
    CLASS_CONFLICT = 0x0119, "The instance that the node holds is of another SOP class"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A request that can be answered."""

    transaction_uid: str
    references: tuple[SopReference, ...]
    """Each instance once, in the order of the request."""


class Integrity(Enum):
    """What became of the bytes of an instance that was received."""

    INTACT = "intact"
    """Read back now, and the same as received."""
    DAMAGED = "damaged"
    """Missing, or others than were received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """An instance that was received."""

    sop_class_uid: str
    integrity: Integrity


def read_request(request: CommitmentRequest) -> Transaction:
    """What a peer asks for. Raises ``CommitmentRefused``."""
    if request.sop_instance_uid != WELL_KNOWN_INSTANCE:
        raise CommitmentRefused(ActionStatus.NO_SUCH_INSTANCE, "not addressed to the well-known instance")
    if request.action_type != REQUEST_COMMITMENT:
        raise CommitmentRefused(ActionStatus.NO_SUCH_ACTION, "another action than a request for commitment")
    try:
        data_set = data_set_from_wire(request.encoded, request.transfer_syntax_uid, start=0)
        walk = data_set.walk()
        values = Values(walk, data_set.find(walk, _WANTED, to_end=True))
        items = values.items(_REFERENCED_SOP_SEQUENCE, _WANTED_IN_ITEM, maximum=MAXIMUM_REFERENCES + 1)
    except (MalformedDataSet, InstanceRefused) as error:
        raise CommitmentRefused(ActionStatus.INVALID_ARGUMENT, f"action information is damaged: {error}") from error
    if len(items) > MAXIMUM_REFERENCES:
        raise CommitmentRefused(ActionStatus.RESOURCE_LIMITATION, "too many instances in one request")
    references = dict.fromkeys(
        SopReference(
            sop_class_uid=item.uid(_REFERENCED_SOP_CLASS_UID), sop_instance_uid=item.uid(_REFERENCED_SOP_INSTANCE_UID)
        )
        for item in items
    )
    transaction_uid = values.uid(_TRANSACTION_UID)
    if not transaction_uid:
        raise CommitmentRefused(ActionStatus.INVALID_ARGUMENT, "Transaction UID is missing or not valid")
    if not references or not all(one.sop_class_uid and one.sop_instance_uid for one in references):
        raise CommitmentRefused(ActionStatus.INVALID_ARGUMENT, "references are missing or not valid")
    return Transaction(transaction_uid=transaction_uid, references=tuple(references))


def judge(transaction: Transaction, holding: Callable[[str], Holding | None]) -> CommitmentReport:
    """What can be committed to; ``holding`` tells what became of a SOP Instance UID (``None``: never received)."""
    committed: list[SopReference] = []
    failed: list[tuple[SopReference, int]] = []
    for reference in transaction.references:
        reason = _why_not(reference, holding(reference.sop_instance_uid))
        if reason is None:
            committed.append(reference)
        else:
            failed.append((reference, int(reason)))
    return CommitmentReport(
        transaction_uid=transaction.transaction_uid, committed=tuple(committed), failed=tuple(failed)
    )


def _why_not(reference: SopReference, held: Holding | None) -> FailureReason | None:
    if held is None:
        return FailureReason.NO_SUCH_INSTANCE
    if held.sop_class_uid != reference.sop_class_uid:
        return FailureReason.CLASS_CONFLICT
    return None if held.integrity is Integrity.INTACT else FailureReason.PROCESSING_FAILURE
