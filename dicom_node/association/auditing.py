"""What the audit trail is told: who was turned away, what came of which study, what was imported (PS3.15 A.5.3)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from dicom_node.association.folder_intake import ImportedStudy
from dicom_node.association.requests import AssociationEvent, EventKind
from dicom_node.audit import AuditEvent, Node
from dicom_node.audit.events import imported, node_refused, received


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationAudit:
    """Called in the association's thread, so ``record`` must not block."""

    record: Callable[[AuditEvent], None]
    ae_title: str
    """Ours."""

    def __call__(self, event: AssociationEvent) -> None:
        """An association that was accepted is told of when it has ended: by one message a study for what is new, and
        one for what was held already. One that brings very many studies is told of in parts.
        """
        peer = Node(ae_title=event.calling_ae, address=event.address)
        if event.kind in (EventKind.REJECTED, EventKind.TLS_FAILED):
            self.record(node_refused(peer=peer, ae_title=self.ae_title, reason=event.reason))
        failure = event.reason if event.kind is EventKind.ABORTED else ""
        told = partial(received, sender=peer, ae_title=self.ae_title, failure=failure)
        for study_uid, brought in event.studies.items():
            if brought.new:
                self.record(told(study_uid=study_uid, instances=brought.new, new=True))
            if brought.repeats:
                self.record(told(study_uid=study_uid, instances=brought.repeats, new=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderAudit:
    """Tells of each study that came from a folder."""

    record: Callable[[AuditEvent], None]
    ae_title: str
    """Ours."""

    def __call__(self, study: ImportedStudy) -> None:
        """One message a study, also where only some of its files were taken."""
        self.record(
            imported(
                ae_title=self.ae_title,
                study_uid=study.study_uid,
                instances=study.brought.new,
                repeats=study.brought.repeats.total(),
                not_taken=study.not_taken,
            )
        )
