"""An event as a DICOM audit message: XML after the schema of PS3.15 A.5.1, on one line."""

import base64
import ipaddress
import re
from xml.etree import ElementTree

from dicom_node.audit import codes
from dicom_node.audit.codes import Code
from dicom_node.audit.events import AuditEvent, Participant

MACHINE_NAME, IP_ADDRESS = "1", "2"
"""NetworkAccessPointTypeCode."""
APPLICATION_SERVER = "4"
"""AuditSourceTypeCode."""
SYSTEM_OBJECT, REPORT, SECURITY_RESOURCE = "2", "3", "13"
"""ParticipantObjectTypeCode, and two values of ParticipantObjectTypeCodeRole."""
LONGEST_TEXT = 256
"""Of what a peer may have chosen, in characters."""
_NOT_XML = re.compile(r"[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, and line ends: a message is one line."""


def audit_message(event: AuditEvent, *, source_id: str) -> bytes:
    """The message in UTF-8, without XML declaration and line end; ``source_id``: who reports (AuditSourceID)."""
    root = ElementTree.Element("AuditMessage")
    _identification(root, event)
    for participant in event.participants:
        _participant(root, participant)
    source = ElementTree.SubElement(root, "AuditSourceIdentification", AuditSourceID=_text(source_id))
    ElementTree.SubElement(source, "AuditSourceTypeCode", {"csd-code": APPLICATION_SERVER})
    if event.study_uid is not None:
        _study(root, event, event.study_uid)
    if event.alert_subject is not None:
        _alert_subject(root, event, event.alert_subject)
    return ElementTree.tostring(root, encoding="unicode").encode()


def _identification(root: ElementTree.Element, event: AuditEvent) -> None:
    identification = ElementTree.SubElement(
        root,
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=event.at.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=str(int(event.outcome)),
    )
    _coded(identification, "EventID", event.id)
    for kind in event.types:
        _coded(identification, "EventTypeCode", kind)
    if event.description:
        ElementTree.SubElement(identification, "EventOutcomeDescription").text = _text(event.description)


def _participant(root: ElementTree.Element, participant: Participant) -> None:
    attributes = {"UserID": _text(participant.user_id), "UserIsRequestor": str(participant.requestor).lower()}
    if participant.ae_title:
        attributes["AlternativeUserID"] = f"AETITLES={_text(participant.ae_title)}"
    if participant.address:
        attributes["NetworkAccessPointID"] = _text(participant.address)
        attributes["NetworkAccessPointTypeCode"] = IP_ADDRESS if _is_ip(participant.address) else MACHINE_NAME
    element = ElementTree.SubElement(root, "ActiveParticipant", attributes)
    if participant.role is not None:
        _coded(element, "RoleIDCode", participant.role)
    if participant.media is not None:
        _coded(ElementTree.SubElement(element, "MediaIdentifier"), "MediaType", participant.media)


def _study(root: ElementTree.Element, event: AuditEvent, study_uid: str) -> None:
    study = _object(root, REPORT, codes.STUDY_UID, study_uid)
    description = ElementTree.SubElement(study, "ParticipantObjectDescription")
    for sop_class, count in sorted(event.instances.items()):
        ElementTree.SubElement(description, "SOPClass", UID=_text(sop_class), NumberOfInstances=str(count))


def _alert_subject(root: ElementTree.Element, event: AuditEvent, node: str) -> None:
    subject = _object(root, SECURITY_RESOURCE, codes.NODE_ID, node)
    value = base64.b64encode(_text(event.description).encode()).decode()
    ElementTree.SubElement(subject, "ParticipantObjectDetail", type="Alert Description", value=value)


def _object(root: ElementTree.Element, role: str, kind: Code, identifier: str) -> ElementTree.Element:
    element = ElementTree.SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_text(identifier),
        ParticipantObjectTypeCode=SYSTEM_OBJECT,
        ParticipantObjectTypeCodeRole=role,
    )
    _coded(element, "ParticipantObjectIDTypeCode", kind)
    # The schema wants a name or a query, though the tables of A.5.3 leave both open.
    ElementTree.SubElement(element, "ParticipantObjectName").text = _text(identifier)
    return element


def _coded(parent: ElementTree.Element, name: str, code: Code) -> None:
    attributes = {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning}
    ElementTree.SubElement(parent, name, attributes)


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return True


def _text(text: str) -> str:
    return _NOT_XML.sub("?", text)[:LONGEST_TEXT]
