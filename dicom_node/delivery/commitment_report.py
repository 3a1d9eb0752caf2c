"""Tells a peer what is committed: N-EVENT-REPORT on an association of its own (PS3.4 section J.3.3).

The node, which is SCP of the service, is here the requestor of the association, so it proposes the SCP role for itself
(PS3.7 section D.3.3.4).
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.association import Association

from dicom_node.delivery.dimse import Address, NothingAccepted, associated
from dicom_node.delivery.encryption import Encryption
from dicom_node.delivery.status import SUCCESS, Meaning, meaning
from dicom_node.errors import PeerRefused, PeerUnavailable
from dicom_node.records import CommitmentReport, SopReference
from dicom_node.settings import CommitmentSettings

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class."""
WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
ALL_COMMITTED, FAILURES_EXIST = 1, 2
"""Event Type IDs (PS3.4 table J.3-2)."""


class ReportPeer:
    """One configured peer that hears reports."""

    def __init__(self, settings: CommitmentSettings, *, ae_title: str, calling_ae: str) -> None:
        self._settings = settings
        self._calling_ae = calling_ae
        self._address = Address(ae_title, settings.host, settings.port)

    @property
    def retry_for_hours(self) -> float:
        """How long a report is tried."""
        return self._settings.retry_for_hours

    def send(self, report: CommitmentReport) -> None:
        """Returns when the peer has taken the report.

        Raises ``PeerUnavailable`` where it may take it later, ``PeerRefused`` where it answers that it never will.
        """
        try:
            answer = self._answer(report)
        except (NothingAccepted, RuntimeError, ValueError) as error:
            # pynetdicom: the association has ended, or the peer does not let the node be SCP.
            raise self._takes_none() from error
        status = answer.get("Status")
        if status is None:
            raise PeerUnavailable(f"{self._address} did not answer the report in time, or aborted")
        if status != SUCCESS:
            why = f"{self._address} answered the report with status {status:04X}"
            raise PeerUnavailable(why) if meaning(status) is Meaning.LATER else PeerRefused(why)

    def probe(self) -> None:
        """Ask whether the peer would take a report, by an association alone. Raises ``PeerUnavailable``."""
        try:
            with self._associated() as association:
                node_is_scp = any(context.as_scp for context in association.accepted_contexts)
        except NothingAccepted as error:
            raise self._takes_none() from error
        if not node_is_scp:
            raise self._takes_none()

    def _takes_none(self) -> PeerUnavailable:
        return PeerUnavailable(f"{self._address} does not take reports of storage commitment")

    def _associated(self) -> AbstractContextManager[Association]:
        tls = self._settings.tls
        encryption = None if tls is None else Encryption(tls, host=self._settings.host, destination=str(self._address))
        return associated(
            self._address,
            calling_ae=self._calling_ae,
            contexts={(STORAGE_COMMITMENT, str(ExplicitVRLittleEndian))},
            connect_timeout_s=self._settings.connect_timeout_s,
            response_timeout_s=self._settings.response_timeout_s,
            encryption=encryption,
            scp_roles=(STORAGE_COMMITMENT,),
        )

    def _answer(self, report: CommitmentReport) -> Dataset:
        with self._associated() as association:
            answer, _ = association.send_n_event_report(
                event_information(report),
                FAILURES_EXIST if report.failed else ALL_COMMITTED,
                STORAGE_COMMITMENT,
                WELL_KNOWN_INSTANCE,
            )
        return answer


def event_information(report: CommitmentReport) -> Dataset:
    """The event information (PS3.4 table J.3-2). Without Retrieve AE Title: nothing can be retrieved from the node."""
    information = Dataset()
    information.TransactionUID = report.transaction_uid
    if report.committed:
        information.ReferencedSOPSequence = _items(report.committed)
    if report.failed:
        information.FailedSOPSequence = _items(one for one, _ in report.failed)
        for item, (_, reason) in zip(information.FailedSOPSequence, report.failed, strict=True):
            item.FailureReason = reason
    return information


def _items(references: Iterable[SopReference]) -> Items:
    items = []
    for one in references:
        item = Dataset()
        item.ReferencedSOPClassUID = one.sop_class_uid
        item.ReferencedSOPInstanceUID = one.sop_instance_uid
        items.append(item)
    return Items(items)
