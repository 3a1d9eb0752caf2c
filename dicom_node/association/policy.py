"""Who may associate, and for what: a pure function from a request and the peers to a decision with its reason."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from dicom_node.records import Right
from dicom_node.settings import LOOPBACK, PeerSettings

REJECTED_PERMANENT = 1
SOURCE_SERVICE_USER = 1
"""Result and source of A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
"""Result, source and reason (PS3.8 table 9-21) of what is answered beyond ``maximum_associations``."""

EVERY_RIGHT = frozenset(Right)


class RejectReason(IntEnum):
    """Reasons with source 1, "service user" (PS3.8 table 9-21)."""

    CALLING_AE_NOT_RECOGNISED = 3
    """The peer is not known, does not come from its address, or does not show its certificate."""
    CALLED_AE_NOT_RECOGNISED = 7
    """The peer looks for another node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whether a peer may associate; ``reject`` is ``None`` where it may."""

    reject: RejectReason | None
    reason: str
    rights: frozenset[Right] = frozenset()
    """The services it may use: presentation contexts of others are answered with result 1, user rejection."""


def admit(
    *,
    called_ae: str,
    calling_ae: str,
    address: str,
    our_ae: str,
    peers: Sequence[PeerSettings],
    certificate_names: Iterable[str] = (),
) -> Admission:
    """Decide about one association request. Without configured peers only the machine itself may associate.

    AE titles compare without leading and trailing spaces (PS3.5 table 6.2-1, AE). ``certificate_names`` are those of
    the verified certificate that the peer showed (``dicom_node.tls.certificate_names``); empty without TLS. Of several
    peers of one AE title, the first in the order of the settings that fits decides.
    """
    if called_ae.strip() != our_ae.strip():
        return Admission(reject=RejectReason.CALLED_AE_NOT_RECOGNISED, reason=f"called AE title is not {our_ae}")
    host = _address(address)
    if not peers:
        if str(host) in LOOPBACK:
            return Admission(reject=None, reason="from this machine", rights=EVERY_RIGHT)
        return _unknown("no peer is configured: only this machine may send")
    known = [peer for peer in peers if peer.ae_title.strip() == calling_ae.strip()]
    if not known:
        return _unknown("calling AE title is no known peer")
    near = [peer for peer in known if peer.address is None or host in ipaddress.ip_network(peer.address)]
    if not near:
        return _unknown("known AE title from an address that is not its own")
    shown = {name.casefold() for name in certificate_names}
    for peer in near:
        if peer.certificate_name is None or peer.certificate_name.casefold() in shown:
            return Admission(reject=None, reason="known peer", rights=frozenset(peer.rights))
    if not shown:
        return _unknown("this AE title needs its certificate, and none was shown: the peer has to use TLS with it")
    return _unknown("the certificate shown does not carry the name that belongs to this AE title")


def _unknown(reason: str) -> Admission:
    return Admission(reject=RejectReason.CALLING_AE_NOT_RECOGNISED, reason=reason)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as the peer has it: a socket that takes both families shows IPv4 as ::ffff:a.b.c.d."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped
