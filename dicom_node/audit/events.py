"""What is audited: one frozen record, and a function for each kind of event that the node reports (PS3.15 A.5.3).

Decided: **no participant object for the patient**, though A.5.3.3, A.5.3.5 and A.5.3.7 ask for one with the Patient
ID. A trail is read by more people, and kept in more places, than the images; the Study Instance UID leads whoever may
know to the patient. Nor are there SOP Instance UIDs, for which A.5.2 sees no need. The conformance statement says so.
"""

import os
import pwd
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum

from dicom_node.audit import codes
from dicom_node.audit.codes import Code


class Outcome(IntEnum):
    """EventOutcomeIndicator (PS3.15 A.5.1)."""

    SUCCESS = 0
    """It was done."""
    MINOR_FAILURE = 4
    """It failed, and may be done later."""
    SERIOUS_FAILURE = 8
    """It was ended for good, e.g. an association that was refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An application entity that took part."""

    ae_title: str
    """Empty where it did not say."""
    address: str
    """IP address or host name; empty where it is this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """An ActiveParticipant."""

    user_id: str
    """A process of ours: its process ID; a peer: its AE title, or else its address; a person: login name and machine;
    media: a URI (PS3.15 A.5.2.1)."""
    ae_title: str = ""
    address: str = ""
    requestor: bool
    role: Code | None = None
    media: Code | None = None
    """What kind of media it is (CID 405), where it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One event, complete but for the source that reports it."""

    id: Code
    action: str
    """EventActionCode: C create, R read, E execute."""
    outcome: Outcome
    participants: tuple[Participant, ...]
    types: tuple[Code, ...] = ()
    description: str = ""
    """EventOutcomeDescription, in our own words."""
    study_uid: str | None = None
    instances: Mapping[str, int] = field(default_factory=dict)
    """Of that study: SOP Class UID, and how many."""
    alert_subject: str | None = None
    """Address of the node that a security alert is about."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def application_started(ae_title: str) -> AuditEvent:
    """PS3.15 A.5.3.1."""
    return _activity(ae_title, codes.APPLICATION_START)


def application_stopped(ae_title: str) -> AuditEvent:
    """PS3.15 A.5.3.1."""
    return _activity(ae_title, codes.APPLICATION_STOP)


def received(
    *, sender: Node, ae_title: str, study_uid: str, instances: Mapping[str, int], failure: str, new: bool = True
) -> AuditEvent:
    """Instances of one study were taken from a peer (PS3.15 A.5.3.7). ``failure``: how it ended early, or empty.

    Those that are not ``new`` were held already, with the same content; nothing was changed.
    """
    return AuditEvent(
        id=codes.INSTANCES_TRANSFERRED,
        action="C" if new else "R",
        outcome=Outcome.MINOR_FAILURE if failure else Outcome.SUCCESS,
        description=failure,
        participants=(
            _peer(sender, requestor=True, role=codes.SOURCE),
            _ourselves(ae_title, requestor=False, role=codes.DESTINATION),
        ),
        study_uid=study_uid,
        instances=instances,
    )


def imported(
    *, ae_title: str, study_uid: str, instances: Mapping[str, int], repeats: int, not_taken: int
) -> AuditEvent:
    """A person has the files of a folder taken in (PS3.15 A.5.3.5): new ``instances``, and files that brought none.

    Decided: the folder is told by its machine alone; people name folders after patients.
    """
    machine = socket.gethostname()
    person = Participant(user_id=f"{_login_name()}@{machine}", requestor=True, role=codes.DESTINATION)
    media = Participant(user_id=f"file://{machine}/", requestor=False, role=codes.SOURCE_MEDIA, media=codes.URI)
    return AuditEvent(
        id=codes.IMPORT,
        action="C",
        outcome=Outcome.MINOR_FAILURE if not_taken else Outcome.SUCCESS,
        description="; ".join(
            f"{count} files {what}" for count, what in ((repeats, "held already"), (not_taken, "not taken")) if count
        ),
        participants=(person, _ourselves(ae_title, requestor=False, role=codes.DESTINATION), media),
        study_uid=study_uid,
        instances=instances,
    )


def begun_sending(*, receiver: Node, ae_title: str, study_uid: str, instances: Mapping[str, int]) -> AuditEvent:
    """Results of one study begin to go to a peer (PS3.15 A.5.3.3)."""
    return AuditEvent(
        id=codes.BEGIN_TRANSFERRING,
        action="E",
        outcome=Outcome.SUCCESS,
        participants=_sending(receiver, ae_title),
        study_uid=study_uid,
        instances=instances,
    )


def sent(*, receiver: Node, ae_title: str, study_uid: str, instances: Mapping[str, int], failure: str) -> AuditEvent:
    """Results of one study went to a peer, or, with ``failure``, did not (PS3.15 A.5.3.7)."""
    return AuditEvent(
        id=codes.INSTANCES_TRANSFERRED,
        action="R",  # whether the receiver had copies, only the receiver knows
        outcome=Outcome.MINOR_FAILURE if failure else Outcome.SUCCESS,
        description=failure,
        participants=_sending(receiver, ae_title),
        study_uid=study_uid,
        instances=instances,
    )


def node_refused(*, peer: Node, ae_title: str, reason: str) -> AuditEvent:
    """A peer was turned away: handshake, association or login (PS3.15 A.5.3.11)."""
    return AuditEvent(
        id=codes.SECURITY_ALERT,
        action="E",
        outcome=Outcome.SERIOUS_FAILURE,
        types=(codes.NODE_AUTHENTICATION,),
        description=reason,
        participants=(_ourselves(ae_title, requestor=False), _peer(peer, requestor=False)),
        alert_subject=peer.address,
    )


def messages_lost(ae_title: str, *, count: int, where: str) -> AuditEvent:
    """The trail has a gap (PS3.15 A.5.3.11)."""
    return AuditEvent(
        id=codes.SECURITY_ALERT,
        action="E",
        outcome=Outcome.SERIOUS_FAILURE,
        types=(codes.AUDIT_RECORDING_STOPPED,),
        description=f"{count} audit messages before this one were lost: {where}",
        participants=(_ourselves(ae_title, requestor=False),),
    )


def _activity(ae_title: str, kind: Code) -> AuditEvent:
    return AuditEvent(
        id=codes.APPLICATION_ACTIVITY,
        action="E",
        outcome=Outcome.SUCCESS,
        types=(kind,),
        participants=(_ourselves(ae_title, requestor=False, role=codes.APPLICATION),),
    )


def _sending(receiver: Node, ae_title: str) -> tuple[Participant, ...]:
    return (
        _ourselves(ae_title, requestor=True, role=codes.SOURCE),
        _peer(receiver, requestor=False, role=codes.DESTINATION),
    )


def _login_name() -> str:
    """Of the account that the process has, whatever the environment says; its number where it has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _ourselves(ae_title: str, *, requestor: bool, role: Code | None = None) -> Participant:
    return Participant(user_id=str(os.getpid()), ae_title=ae_title, requestor=requestor, role=role)


def _peer(node: Node, *, requestor: bool, role: Code | None = None) -> Participant:
    return Participant(
        user_id=node.ae_title or node.address or "unknown",
        ae_title=node.ae_title,
        address=node.address,
        requestor=requestor,
        role=role,
    )
