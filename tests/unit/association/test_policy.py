"""Who may associate: a table."""

import pytest

from dicom_node.association.policy import RejectReason, admit
from dicom_node.settings import PeerSettings

CT1 = PeerSettings(ae_title="CT1", address="10.0.0.1")
ANYWHERE = PeerSettings(ae_title="WANDERER")


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
    ],
)
def test_admit(
    called: str, calling: str, address: str, peers: tuple[PeerSettings, ...], reject: RejectReason | None
) -> None:
    admission = admit(called_ae=called, calling_ae=calling, address=address, our_ae="NODE", peers=peers)
    assert admission.reject is reject
    assert admission.reason
