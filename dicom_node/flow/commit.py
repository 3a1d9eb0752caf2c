"""Storage commitment from a peer's request to its report: kept, judged, told; tried again until the peer has heard it.

What is committed is decided when the report is made, by reading every instance back from the disk. A peer that has
failed to take a report is asked first whether it would now: one that is away for days costs no reading.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from dicom_node.association.commitment import (
    MAXIMUM_WAITING,
    ActionStatus,
    Holding,
    Integrity,
    Transaction,
    judge,
    read_request,
)
from dicom_node.association.requests import CommitmentRequest
from dicom_node.delivery.commitment_report import ReportPeer
from dicom_node.errors import CommitmentRefused, PeerRefused, PeerUnavailable, StorageCorrupt
from dicom_node.flow import commitment_pauses
from dicom_node.flow.durable import WorkQueue
from dicom_node.index import Commitment, CommitmentTable, Index
from dicom_node.index.commitments import Opened
from dicom_node.index.received import utc_now
from dicom_node.records import CommitmentReport, CommitmentState
from dicom_node.spool import Spool

log = structlog.get_logger(__name__)

KEEP_ENDED = timedelta(days=30)
"""Requests that ended are kept that long for people to look at."""
MOST_ENDED = 1_000
"""Of them at most: each holds its references, up to two megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Committer:
    """Takes requests in the acceptor's threads, reports in the workflow engine's."""

    commitments: CommitmentTable
    index: Index
    spool: Spool
    queue: WorkQueue
    peers: Mapping[str, ReportPeer]
    """By AE title: those for which an address is configured. Reports go nowhere else."""
    flush: Callable[[], None]
    """Returns when the index shows everything that was answered with success; raises ``ResourceExhausted``."""

    def accept(self, request: CommitmentRequest) -> int:
        """The status of the N-ACTION response. Success: the request survives a crash."""
        peer = request.calling_ae.strip()
        try:
            if peer not in self.peers:
                raise CommitmentRefused(
                    ActionStatus.NOT_AUTHORISED, "no address for reports: set commitment of this peer in scp.peers"
                )
            transaction = read_request(request)
            opened = self.commitments.open(
                peer,
                transaction.transaction_uid,
                transaction.references,
                now=utc_now(),
                most_waiting=MAXIMUM_WAITING,
                enqueue=partial(self.queue.enqueue_report, peer=peer, transaction_uid=transaction.transaction_uid),
            )
            if opened is Opened.TOO_MANY:
                raise CommitmentRefused(
                    ActionStatus.RESOURCE_LIMITATION,
                    f"{MAXIMUM_WAITING} reports wait for this peer: see why it does not take them",
                )
            if opened is Opened.TAKEN:
                raise CommitmentRefused(
                    ActionStatus.INVALID_ARGUMENT, "Transaction UID belongs to an earlier request for other instances"
                )
        except CommitmentRefused as refusal:
            log.warning(
                "commitment_refused",
                calling_ae=peer,
                address=request.address,
                status=f"{refusal.status:04X}",
                reason=str(refusal),
            )
            return refusal.status
        log.info(
            "commitment_requested",
            calling_ae=peer,
            address=request.address,
            transaction_uid=transaction.transaction_uid,
            instances=len(transaction.references),
            opened=opened.value,
        )
        return ActionStatus.SUCCESS

    def report(self, peer: str, transaction_uid: str) -> None:
        """Workflow handler: one attempt; a later one is queued where it failed. Raises what only a restart mends."""
        commitment = self.commitments.find(peer, transaction_uid)
        if commitment.state is not CommitmentState.WAITING:
            return
        with structlog.contextvars.bound_contextvars(calling_ae=peer, transaction_uid=transaction_uid):
            known = self.peers.get(peer)
            if known is None:
                self._end(commitment, CommitmentState.REFUSED, "no address for reports is configured any more")
                return
            try:
                if commitment.tries:
                    known.probe()
                report = self._judged(commitment)
                known.send(report)
            except PeerRefused as error:
                self._end(commitment, CommitmentState.REFUSED, str(error))
            except Exception as error:  # noqa: BLE001 - the job boundary: records, then tries again
                self._after_failure(commitment, known, error)
            else:
                self.commitments.end(peer, transaction_uid, CommitmentState.REPORTED, now=utc_now())
                log.info("commitment_reported", committed=len(report.committed), failed=len(report.failed))

    def _judged(self, commitment: Commitment) -> CommitmentReport:
        self.flush()
        transaction = Transaction(transaction_uid=commitment.transaction_uid, references=commitment.references)
        return judge(transaction, self._holding)

    def _holding(self, sop_instance_uid: str) -> Holding | None:
        instance = self.index.find_instance(sop_instance_uid)
        if instance is None:
            return None
        try:
            intact = self.spool.describe(instance.file).digest == instance.digest
        except (OSError, StorageCorrupt):
            intact = False
        if not intact:
            log.error("record_damaged", sop_instance_uid=sop_instance_uid, file=instance.file.path.name)
        return Holding(
            sop_class_uid=instance.facts.sop_class_uid, integrity=Integrity.INTACT if intact else Integrity.DAMAGED
        )

    def _after_failure(self, commitment: Commitment, known: ReportPeer, error: Exception) -> None:
        if not isinstance(error, PeerUnavailable):
            log.exception("commitment_report_failed")
        # Text of foreign exceptions may quote received data.
        reason = str(error) if isinstance(error, PeerUnavailable) else type(error).__name__
        now = utc_now()
        if now - commitment.received_at > timedelta(hours=known.retry_for_hours):
            self._end(commitment, CommitmentState.EXPIRED, reason)
            return
        pause = commitment_pauses.pause_s(commitment.tries + 1)
        log.warning("commitment_report_deferred", reason=reason, again_in_s=pause)
        self._queue_again(commitment.peer, commitment.transaction_uid, error=reason, now=now, pause=pause)

    def _end(self, commitment: Commitment, state: CommitmentState, reason: str) -> None:
        log.error("commitment_not_reported", state=state.value, reason=reason)
        self.commitments.end(commitment.peer, commitment.transaction_uid, state, now=utc_now(), error=reason)

    def reconcile(self, is_live: Callable[[str], bool]) -> int:
        """Queue again whatever lost its workflow. Returns how much that was."""
        lost = [one for one in self.commitments.waiting() if not is_live(one[2])]
        still = set(lost) & set(self.commitments.waiting()) if lost else set()
        for peer, transaction_uid, _ in still:
            self._queue_again(peer, transaction_uid, error="", now=utc_now(), pause=0.0)
        return len(still)

    def prune(self) -> None:
        """Forget requests that ended long ago, and the oldest where there are many."""
        self.commitments.prune(before=utc_now() - KEEP_ENDED, most=MOST_ENDED)

    def _queue_again(self, peer: str, transaction_uid: str, *, error: str, now: datetime, pause: float) -> None:
        self.commitments.defer(
            peer,
            transaction_uid,
            error=error,
            until=now + timedelta(seconds=pause),
            enqueue=partial(self.queue.enqueue_report, peer=peer, transaction_uid=transaction_uid, delay_s=pause),
        )
