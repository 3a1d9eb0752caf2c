"""Senders that repeat themselves, or never end: what the audit trail is told of (PS3.15 A.5.3.7)."""

from collections import Counter
from collections.abc import Callable

import pytest
from pydicom.uid import CTImageStorage

from dicom_node.association import AssociationEvent, EventKind, association
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
        sender = connect(receiver.port)
        for number in numbers:
            assert Sender(sender).store(encoded_slice(number), instance_uid=slice_uid(number)).status == 0
        sender.release()
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


def test_very_many_studies_are_told_of_in_parts(
    start_receiver: Callable[..., Receiver], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(association, "STUDIES_AT_ONCE", 2)
    told: list[AssociationEvent] = []
    receiver = start_receiver(parts={"audit": told.append})
    endless = connect(receiver.port)
    for number in range(3):
        encoded = encoded_slice(number, StudyInstanceUID=f"1.2.{number}")
        assert Sender(endless).store(encoded, instance_uid=slice_uid(number)).status == 0
    endless.release()
    assert wait_until(lambda: told[-1].kind is EventKind.ENDED)
    assert [(one.kind, one.instances, list(one.studies)) for one in told] == [
        (EventKind.ACCEPTED, 0, []),
        (EventKind.UNDER_WAY, 2, ["1.2.0", "1.2.1"]),
        (EventKind.ENDED, 3, ["1.2.2"]),
    ]
    written: list[AuditEvent] = []
    for event in told:
        AssociationAudit(record=written.append, ae_title="N")(event)
    assert [int(one.outcome) for one in written] == [0, 0, 0]
