"""What the acceptor hands to others: an offered instance, a question for commitment, an event for the audit trail.

Frozen records without data sets. Text in them is bounded; AE titles are printable ASCII, whatever came over the wire.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is known of an instance before its data set arrives."""

    calling_ae: str
    sop_class_uid: str
    """Affected SOP Class UID of the command."""
    sop_instance_uid: str
    """Affected SOP Instance UID of the command."""
    context_sop_class_uid: str
    """Abstract syntax of the presentation context that carries it."""
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedInstance(Offer):
    """An instance whose data set is in memory, exactly as it came."""

    encoded: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRequest:
    """An N-ACTION request of the Storage Commitment Push Model (PS3.4 section J.3.2)."""

    calling_ae: str
    address: str
    sop_instance_uid: str
    """Requested SOP Instance UID: of the well-known instance, unless the peer is mistaken."""
    action_type: int | None
    transfer_syntax_uid: str
    encoded: bytes
    """The action information as it came, capped; nobody has looked at it yet."""


@dataclass(slots=True)
class Brought:
    """What has come of one study and is durable: SOP Class UID, and how many instances."""

    new: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    """They were held already, with the same content."""

    def note(self, sop_class_uid: str, *, new: bool) -> None:
        """One more."""
        (self.new if new else self.repeats)[sop_class_uid] += 1


class EventKind(Enum):
    """What happened to an association, as far as an audit trail asks (PS3.15 section A.5)."""

    ACCEPTED = "accepted"
    """An association was established."""
    REJECTED = "rejected"
    """A peer was turned away."""
    TLS_FAILED = "tls_failed"
    """A peer did not get through the handshake: no TLS, or no certificate that is trusted here."""
    UNDER_WAY = "under_way"
    """An established association has brought so many studies that they are told of before its end."""
    ABORTED = "aborted"
    """An established association ended by abort, time-out or loss of the connection."""
    ENDED = "ended"
    """An established association was released."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationEvent:
    """One event of one association."""

    kind: EventKind
    address: str
    calling_ae: str = ""
    called_ae: str = ""
    reason: str = ""
    """Our own words."""
    instances: int = 0
    """How many instances were accepted so far; with UNDER_WAY, ABORTED and ENDED."""
    studies: Mapping[str, Brought] = field(default_factory=dict)
    """By Study Instance UID, what no event has told of yet; with UNDER_WAY, ABORTED and ENDED."""
