"""Sends the DICOM files of a folder by C-STORE, as a modality would."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from dicom_node.delivery.base import SendOutcome
from dicom_node.delivery.dimse import (
    UNREADABLE,
    Address,
    NothingAccepted,
    Outgoing,
    associated,
    describe,
    not_taken,
    store,
)
from dicom_node.delivery.encryption import Encryption
from dicom_node.settings import PeerTlsSettings

CALLING_AE = "DICOMNODE-SEND"
PAIRS_AN_ASSOCIATION = 60
"""An association has at most 128 presentation contexts (PS3.8 9.3.2.2), and a pair may need two."""
CONNECT_TIMEOUT_S = 10.0
RESPONSE_TIMEOUT_S = 60.0


def send_folder(
    folder: Path, address: Address, *, calling_ae: str = CALLING_AE, tls: PeerTlsSettings | None = None
) -> list[SendOutcome]:
    """Send every DICOM file below ``folder``, in order of name; other files are left out. ``tls``: encrypted.

    Raises ``PeerUnavailable`` where the peer does not answer; what was sent before that may have been stored.
    """
    outgoing = [one for path in sorted(folder.rglob("*")) if path.is_file() and (one := _readable(path)) is not None]
    outcomes: list[SendOutcome] = []
    for batch in _batches(outgoing):
        try:
            with associated(
                address,
                calling_ae=calling_ae,
                contexts={(one.sop_class_uid, one.transfer_syntax_uid) for one in batch},
                connect_timeout_s=CONNECT_TIMEOUT_S,
                response_timeout_s=RESPONSE_TIMEOUT_S,
                encryption=None if tls is None else Encryption(tls, host=address.host, destination=str(address)),
            ) as association:
                outcomes += [store(association, one) for one in batch]
        except NothingAccepted:
            outcomes += map(not_taken, batch)
    return outcomes


def _readable(path: Path) -> Outgoing | None:
    try:
        return describe(path)
    except (*UNREADABLE, AttributeError):
        return None


def _batches(outgoing: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
    """Files grouped so that the kinds in a group fit one association."""
    pairs = iter(sorted({(one.sop_class_uid, one.transfer_syntax_uid) for one in outgoing}))
    while chosen := set(islice(pairs, PAIRS_AN_ASSOCIATION)):
        yield [one for one in outgoing if (one.sop_class_uid, one.transfer_syntax_uid) in chosen]
