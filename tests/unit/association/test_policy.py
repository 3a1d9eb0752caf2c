"""Who may associate: a table."""

import pytest

from dicom_node.association.policy import RejectReason, admit
from dicom_node.records import Right
from dicom_node.settings import PeerSettings

CT1 = PeerSettings(ae_title="CT1", address="10.0.0.1")
ANYWHERE = PeerSettings(ae_title="WANDERER")
WARD = PeerSettings(ae_title="US", address="10.1.0.0/16")
SIXTH = PeerSettings(ae_title="US", address="2001:db8::/64")


@pytest.mark.parametrize(
    ("called", "calling", "address", "peers", "reject"),
    [
        ("NODE", "X", "127.0.0.1", (), None),
        ("NODE", "X", "::1", (), None),
        ("NODE            ", "X", "127.0.0.1", (), None),
        ("OTHER", "X", "127.0.0.1", (), RejectReason.CALLED_AE_NOT_RECOGNISED),
        ("NODE", "X", "10.0.0.1", (), RejectReason.CALLING_AE_NOT_RECOGNISED),
        ("NODE", "CT1", "10.0.0.1", (CT1,), None),
        ("NODE", "CT1 ", "10.0.0.1", (CT1,), None),
        ("NODE", "CT1", "10.0.0.2", (CT1,), RejectReason.CALLING_AE_NOT_RECOGNISED),
        ("NODE", "CT2", "10.0.0.1", (CT1,), RejectReason.CALLING_AE_NOT_RECOGNISED),
        # With peers configured, the machine itself is a stranger as well.
        ("NODE", "X", "127.0.0.1", (CT1,), RejectReason.CALLING_AE_NOT_RECOGNISED),
        ("NODE", "WANDERER", "192.0.2.7", (CT1, ANYWHERE), None),
        ("NODE", "ct1", "10.0.0.1", (CT1,), RejectReason.CALLING_AE_NOT_RECOGNISED),
        ("NODE", "US", "10.1.255.255", (WARD,), None),
        ("NODE", "US", "10.2.0.0", (WARD, SIXTH), RejectReason.CALLING_AE_NOT_RECOGNISED),
        ("NODE", "US", "2001:db8::7", (WARD, SIXTH), None),
        ("NODE", "US", "2001:db8:0:1::7", (WARD, SIXTH), RejectReason.CALLING_AE_NOT_RECOGNISED),
        # A socket for both families shows IPv4 addresses in the form of IPv6, and link-local ones with their interface.
        ("NODE", "CT1", "::ffff:10.0.0.1", (CT1,), None),
        ("NODE", "X", "::ffff:127.0.0.1", (), None),
        ("NODE", "US", "fe80::1%eth0", (SIXTH,), RejectReason.CALLING_AE_NOT_RECOGNISED),
    ],
)
def test_admit(
    called: str, calling: str, address: str, peers: tuple[PeerSettings, ...], reject: RejectReason | None
) -> None:
    admission = admit(called_ae=called, calling_ae=calling, address=address, our_ae="NODE", peers=peers)
    assert admission.reject is reject
    assert admission.reason


def rights(calling: str, address: str, *peers: PeerSettings) -> set[Right]:
    return set(admit(called_ae="NODE", calling_ae=calling, address=address, our_ae="NODE", peers=peers).rights)


def test_rights_are_those_of_the_first_peer_that_fits() -> None:
    probe = PeerSettings(ae_title="CT1", address="10.0.0.0/8", rights=(Right.ECHO,))
    assert rights("CT1", "10.0.0.1", CT1, probe) == set(Right)
    assert rights("CT1", "10.0.0.2", CT1, probe) == {Right.ECHO}
    assert rights("CT1", "192.0.2.1", CT1, probe) == set()
    assert rights("X", "127.0.0.1") == set(Right)


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        ((), "needs its certificate, and none was shown"),
        (("ct2.hospital", "ct2"), "does not carry the name"),
        (("CT1.Hospital", "ct1"), None),
        (("10.0.0.1",), "does not carry the name"),
    ],
)
def test_ae_title_that_belongs_to_a_certificate(shown: tuple[str, ...], says: str | None) -> None:
    owner = PeerSettings(ae_title="CT1", address="10.0.0.1", certificate_name="ct1.hospital")
    admission = admit(
        called_ae="NODE",
        calling_ae="CT1",
        address="10.0.0.1",
        our_ae="NODE",
        peers=(owner, ANYWHERE),
        certificate_names=shown,
    )
    assert (admission.reject is None) == (says is None)
    assert says is None or says in admission.reason
