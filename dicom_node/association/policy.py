"""Who may associate: a pure function from a request and the configured peers to a decision with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from dicom_node.settings import LOOPBACK, PeerSettings

REJECTED_PERMANENT = 1
SOURCE_SERVICE_USER = 1
"""Result and source of A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
"""Result, source and reason (PS3.8 table 9-21) of what pynetdicom answers beyond ``maximum_associations``."""


class RejectReason(IntEnum):
    """Reasons with source 1, "service user" (PS3.8 table 9-21)."""

    CALLING_AE_NOT_RECOGNISED = 3
    """The peer is not known, or does not come from its address."""
    CALLED_AE_NOT_RECOGNISED = 7
    """The peer looks for another node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whether a peer may associate; ``reject`` is ``None`` where it may."""

    reject: RejectReason | None
    reason: str


def admit(*, called_ae: str, calling_ae: str, address: str, our_ae: str, peers: Sequence[PeerSettings]) -> Admission:
    """Decide about one association request. Without configured peers only the machine itself may associate.

    AE titles compare without leading and trailing spaces (PS3.5 table 6.2-1, AE).
    """
    if called_ae.strip() != our_ae.strip():
        return Admission(reject=RejectReason.CALLED_AE_NOT_RECOGNISED, reason=f"called AE title is not {our_ae}")
    if not peers:
        if address in LOOPBACK:
            return Admission(reject=None, reason="from this machine")
        return Admission(
            reject=RejectReason.CALLING_AE_NOT_RECOGNISED,
            reason="no peer is configured: only this machine may send",
        )
    known = [peer for peer in peers if peer.ae_title.strip() == calling_ae.strip()]
    if not known:
        return Admission(reject=RejectReason.CALLING_AE_NOT_RECOGNISED, reason="calling AE title is no known peer")
    if any(peer.address in (None, address) for peer in known):
        return Admission(reject=None, reason="known peer")
    return Admission(
        reject=RejectReason.CALLING_AE_NOT_RECOGNISED, reason="known AE title from an address that is not its own"
    )
