"""What the audit trail is told of deliveries: what is meant to go, and what went (PS3.15 A.5.3.3, A.5.3.7)."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_node.audit import AuditEvent, Node
from dicom_node.audit.events import begun_sending, sent
from dicom_node.records import ResultObject
from dicom_node.settings import DestinationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferAudit:
    """Tells of the results of one study on their way to one destination."""

    record: Callable[[AuditEvent], None]
    ae_title: str
    """Ours."""

    def begun(self, study_uid: str, destination: DestinationSettings, objects: Sequence[ResultObject]) -> None:
        """They are about to be offered."""
        self.record(
            begun_sending(
                receiver=_receiver(destination),
                ae_title=self.ae_title,
                study_uid=study_uid,
                instances=_counts(objects),
            )
        )

    def ended(
        self,
        study_uid: str,
        destination: DestinationSettings,
        *,
        taken: Sequence[ResultObject],
        left: Sequence[ResultObject],
        why: str,
    ) -> None:
        """The destination has ``taken``; ``left`` it has not, the first of them for the reason ``why``."""
        for objects, failure in ((taken, ""), (left, why or "not taken")):
            if objects:
                self.record(
                    sent(
                        receiver=_receiver(destination),
                        ae_title=self.ae_title,
                        study_uid=study_uid,
                        instances=_counts(objects),
                        failure=failure,
                    )
                )


def _receiver(destination: DestinationSettings) -> Node:
    return Node(ae_title=destination.ae_title, address=destination.host)


def _counts(objects: Sequence[ResultObject]) -> Counter[str]:
    return Counter(one.sop_class_uid for one in objects)
