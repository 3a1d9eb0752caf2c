"""Each kind of message against the schema of PS3.15 A.5.1, and against the table of A.5.3 that specialises it."""

import base64
import os
import pwd
import socket
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from lxml import etree
from pydicom.sr._concepts_dict import concepts
from pydicom.uid import CTImageStorage, SegmentationStorage

from dicom_node.audit import codes, events
from dicom_node.audit.codes import Code
from dicom_node.audit.events import AuditEvent, Node
from dicom_node.audit.message import audit_message
from tests.unit.audit.audit_schema import coded, valid_message

CT1 = Node(ae_title="CT1", address="10.0.0.21")
PACS = Node(ae_title="PACS", address="pacs.hospital")
COUNTS = {CTImageStorage: 300, SegmentationStorage: 1}
STUDY = "1.2.826.0.1.3680043.10.1"


def read(event: AuditEvent) -> etree._Element:
    return valid_message(audit_message(event, source_id="DICOMNODE@host"))


def participants(root: etree._Element) -> list[tuple[str, str, str]]:
    return [
        (
            one.get("AlternativeUserID"),
            one.get("UserIsRequestor"),
            one.findtext("x") or one.find("RoleIDCode").get("csd-code"),
        )
        for one in root.iterfind("ActiveParticipant")
    ]


@pytest.mark.parametrize(
    ("make", "kind"), [(events.application_started, "110120"), (events.application_stopped, "110121")]
)
def test_application_activity(make: Callable[[str], AuditEvent], kind: str) -> None:
    root = read(make("DICOMNODE"))
    assert coded(root, "EventIdentification/EventID") == [("110100", "DCM", "Application Activity")]
    assert [code for code, _, _ in coded(root, "EventIdentification/EventTypeCode")] == [kind]
    assert root[0].get("EventActionCode") == "E"
    assert participants(root) == [("AETITLES=DICOMNODE", "false", "110150")]
    assert root[1].get("UserID") == str(os.getpid())
    assert root.find("AuditSourceIdentification").get("AuditSourceID") == "DICOMNODE@host"


def test_instances_that_were_held_already_are_read_and_not_created() -> None:
    root = read(
        events.received(sender=CT1, ae_title="DICOMNODE", study_uid=STUDY, instances=COUNTS, failure="", new=False)
    )
    assert root[0].get("EventActionCode") == "R"


def test_instances_received() -> None:
    for failure, outcome in (("", "0"), ("connection lost", "4")):
        root = read(
            events.received(sender=CT1, ae_title="DICOMNODE", study_uid=STUDY, instances=COUNTS, failure=failure)
        )
        assert coded(root, "EventIdentification/EventID") == [("110104", "DCM", "DICOM Instances Transferred")]
        assert (root[0].get("EventActionCode"), root[0].get("EventOutcomeIndicator")) == ("C", outcome)
        assert (root[0].findtext("EventOutcomeDescription") or "") == failure
        assert participants(root) == [("AETITLES=CT1", "true", "110153"), ("AETITLES=DICOMNODE", "false", "110152")]
        assert (root[1].get("NetworkAccessPointID"), root[1].get("NetworkAccessPointTypeCode")) == ("10.0.0.21", "2")
        (study,) = root.iterfind("ParticipantObjectIdentification")
        assert study.get("ParticipantObjectID") == STUDY
        assert (study.get("ParticipantObjectTypeCode"), study.get("ParticipantObjectTypeCodeRole")) == ("2", "3")
        assert coded(study, "ParticipantObjectIDTypeCode") == [("110180", "DCM", "Study Instance UID")]
        described = study.iterfind("ParticipantObjectDescription/SOPClass")
        assert {one.get("UID"): int(one.get("NumberOfInstances")) for one in described} == COUNTS


@pytest.mark.parametrize(
    ("repeats", "not_taken", "outcome", "said"),
    [(0, 0, "0", ""), (2, 0, "0", "2 files held already"), (2, 1, "4", "2 files held already; 1 files not taken")],
)
def test_folder_imported(repeats: int, not_taken: int, outcome: str, said: str) -> None:
    event = events.imported(
        ae_title="DICOMNODE", study_uid=STUDY, instances=COUNTS, repeats=repeats, not_taken=not_taken
    )
    root = read(event)
    assert coded(root, "EventIdentification/EventID") == [("110107", "DCM", "Import")]
    assert (root[0].get("EventActionCode"), root[0].get("EventOutcomeIndicator")) == ("C", outcome)
    assert (root[0].findtext("EventOutcomeDescription") or "") == said
    person, process, media = root.iterfind("ActiveParticipant")
    account, machine = pwd.getpwuid(os.getuid()).pw_name, socket.gethostname()
    assert [(one.get("UserID"), one.get("UserIsRequestor")) for one in (person, process, media)] == [
        (f"{account}@{machine}", "true"), (str(os.getpid()), "false"), (f"file://{machine}/", "false"),
    ]  # fmt: skip
    roles = [one.find("RoleIDCode").get("csd-code") for one in (person, process, media)]
    assert roles == ["110152", "110152", "110155"]
    assert coded(media, "MediaIdentifier/MediaType") == [("110037", "DCM", "URI")]
    (study,) = root.iterfind("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == STUDY
    described = study.iterfind("ParticipantObjectDescription/SOPClass")
    assert {one.get("UID"): int(one.get("NumberOfInstances")) for one in described} == COUNTS


def test_results_sent() -> None:
    begun = read(events.begun_sending(receiver=PACS, ae_title="DICOMNODE", study_uid=STUDY, instances=COUNTS))
    ended = read(events.sent(receiver=PACS, ae_title="DICOMNODE", study_uid=STUDY, instances=COUNTS, failure=""))
    for root, code, action in ((begun, "110102", "E"), (ended, "110104", "R")):
        assert root.find("EventIdentification/EventID").get("csd-code") == code
        assert root[0].get("EventActionCode") == action
        assert participants(root) == [("AETITLES=DICOMNODE", "true", "110153"), ("AETITLES=PACS", "false", "110152")]
        assert (root[2].get("NetworkAccessPointID"), root[2].get("NetworkAccessPointTypeCode")) == (
            "pacs.hospital",
            "1",
        )
        assert root.find("ParticipantObjectIdentification").get("ParticipantObjectID") == STUDY


def test_refused_node() -> None:
    root = read(events.node_refused(peer=CT1, ae_title="DICOMNODE", reason="calling AE title is no known peer"))
    assert coded(root, "EventIdentification/EventID") == [("110113", "DCM", "Security Alert")]
    assert coded(root, "EventIdentification/EventTypeCode") == [("110126", "DCM", "Node Authentication")]
    assert (root[0].get("EventActionCode"), root[0].get("EventOutcomeIndicator")) == ("E", "8")
    assert root[2].get("UserIsRequestor") == "false", "performing participants never are"
    (subject,) = root.iterfind("ParticipantObjectIdentification")
    assert (subject.get("ParticipantObjectID"), subject.get("ParticipantObjectTypeCodeRole")) == ("10.0.0.21", "13")
    assert coded(subject, "ParticipantObjectIDTypeCode") == [("110182", "DCM", "Node ID")]
    detail = subject.find("ParticipantObjectDetail")
    assert detail.get("type") == "Alert Description"
    assert base64.b64decode(detail.get("value")) == b"calling AE title is no known peer"


def test_lost_messages() -> None:
    root = read(events.messages_lost("DICOMNODE", count=7, where="files did not take them"))
    assert coded(root, "EventIdentification/EventTypeCode") == [("110133", "DCM", "Audit Recording Stopped")]
    assert "7 audit messages" in root[0].findtext("EventOutcomeDescription")


def test_what_peers_choose_cannot_break_a_message() -> None:
    nasty = Node(ae_title="<A&\"'\n]]>\x00\ud800\x1b", address="fe80::1%eth0")
    line = audit_message(
        events.node_refused(peer=nasty, ae_title="N", reason="x" * 5000 + "\r\n<AuditMessage/>"), source_id="N@h"
    )
    assert b"\n" not in line
    root = valid_message(line)
    assert root[2].get("AlternativeUserID") == "AETITLES=<A&\"'?]]>???"
    assert root[2].get("NetworkAccessPointTypeCode") == "2"
    assert len(line) < 4000
    silent = valid_message(
        audit_message(
            events.node_refused(peer=Node(ae_title="", address="10.0.0.9"), ae_title="N", reason="r"), source_id="N@h"
        )
    )
    assert silent[2].get("UserID") == "10.0.0.9"


def test_time_is_that_of_the_event_with_its_zone() -> None:
    at = datetime(2026, 11, 21, 8, 5, 3, 123456, tzinfo=UTC)
    event = AuditEvent(
        id=codes.APPLICATION_ACTIVITY,
        action="E",
        outcome=events.Outcome.SUCCESS,
        participants=(events.Participant(user_id="1", requestor=False),),
        at=at,
    )
    assert read(event)[0].get("EventDateTime") == "2026-11-21T08:05:03.123+00:00"


@pytest.mark.parametrize("code", [one for one in vars(codes).values() if isinstance(one, Code)], ids=str)
def test_codes_are_those_of_ps3_16(code: Code) -> None:
    listed = {value: meaning for entries in concepts["DCM"].values() for value, (meaning, *_) in entries.items()}
    assert listed[code.value] == code.meaning
