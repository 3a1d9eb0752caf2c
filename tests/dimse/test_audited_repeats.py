"""A sender that repeats itself: the audit trail tells what is new from what was held already (PS3.15 A.5.3.7)."""

from collections import Counter
from collections.abc import Callable

from pydicom.uid import CTImageStorage

from dicom_node.association import AssociationEvent, EventKind
from dicom_node.association.auditing import AssociationAudit
from dicom_node.association.requests import Brought
from dicom_node.audit import AuditEvent
from tests.dimse.conftest import Receiver, encoded_slice, slice_uid
from tests.dimse.test_storage_scp import Connect, Sender, wait_until
from tests.synthetic_ct import STUDY_UID


def test_repeats_are_told_apart(start_receiver: Callable[..., Receiver], connect: Connect) -> None:
    told: list[AssociationEvent] = []
    receiver = start_receiver(parts={"audit": told.append})
    for numbers in ((1, 2), (1, 2, 3)):
        association = connect(receiver.port)
        for number in numbers:
            assert Sender(association).store(encoded_slice(number), instance_uid=slice_uid(number)).status == 0
        association.release()
    assert wait_until(lambda: [one.kind for one in told].count(EventKind.ENDED) == 2)
    first, again = [one.studies for one in told if one.kind is EventKind.ENDED]
    assert first == {STUDY_UID: Brought(new=Counter({CTImageStorage: 2}))}
    assert again == {STUDY_UID: Brought(new=Counter({CTImageStorage: 1}), repeats=Counter({CTImageStorage: 2}))}
    written: list[AuditEvent] = []
    audit = AssociationAudit(record=written.append, ae_title="N")
    for event in told:
        audit(event)
    assert [(one.action, dict(one.instances)) for one in written] == [
        ("C", {CTImageStorage: 2}), ("C", {CTImageStorage: 1}), ("R", {CTImageStorage: 2})
    ]  # fmt: skip
