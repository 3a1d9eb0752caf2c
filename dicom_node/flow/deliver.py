"""One attempt to bring a job's results to one destination, and what follows from how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from dicom_node.delivery.base import Destination, SendOutcome
from dicom_node.delivery.status import Meaning
from dicom_node.errors import PeerUnavailable
from dicom_node.flow.durable import Durable
from dicom_node.flow.transfer_audit import TransferAudit
from dicom_node.index import JobTable
from dicom_node.index.jobs import PendingDelivery
from dicom_node.index.received import utc_now
from dicom_node.index.stand_ins import Replacement
from dicom_node.records import DeliveryState, ResultObject
from dicom_node.settings import DestinationSettings

log = structlog.get_logger(__name__)

MOST_DOUBLINGS = 30
"""More would leave the range of floating point after weeks of tries; any bound is reached long before."""

_ENDS = {
    Meaning.ACCEPTED: DeliveryState.DELIVERED,
    Meaning.UNSUPPORTED: DeliveryState.UNSUPPORTED,
    Meaning.REFUSED: DeliveryState.REFUSED,
}


def pause_s(settings: DestinationSettings, tries: int) -> float:
    """Pause before the attempt after ``tries`` failed ones: doubling, bounded."""
    doublings = min(max(tries - 1, 0), MOST_DOUBLINGS)
    return min(settings.retry_first_s * 2.0**doublings, settings.retry_longest_s)


def state_after(
    meaning: Meaning, *, settings: DestinationSettings, first_try_at: datetime | None, now: datetime
) -> DeliveryState:
    """What becomes of an object after an attempt with this outcome."""
    if meaning is not Meaning.LATER:
        return _ENDS[meaning]
    since = now if first_try_at is None else first_try_at
    if now - since > timedelta(hours=settings.retry_for_hours):
        return DeliveryState.EXPIRED
    return DeliveryState.WAITING


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverer:
    """Sends what a job still owes; every object's end is in the index before the next is sent."""

    jobs: JobTable
    durable: Durable
    destinations: Mapping[str, tuple[DestinationSettings, Destination]]
    audit: TransferAudit

    def deliver(self, job_id: str, destination: str) -> None:
        """Workflow handler: one attempt; a later one is queued where something is still owed."""
        known = self.destinations.get(destination)
        with structlog.contextvars.bound_contextvars(job_id=job_id, destination=destination):
            if known is None:
                self._refuse_unknown(job_id, destination)
            else:
                self._attempt(job_id, known)
            state = self.jobs.settle_deliveries(job_id, now=utc_now())
            if state is not None:
                log.info("study_settled", state=state.value)

    def _attempt(self, job_id: str, known: tuple[DestinationSettings, Destination]) -> None:
        """Offer everything once: what is owed, then what comes to be owed in place of it."""
        settings, _ = known
        offered: set[str] = set()
        while new := [one for one in self.jobs.pending(job_id, settings.name) if _uid(one) not in offered]:
            offered.update(map(_uid, new))
            self._offer(job_id, new, known)
        still = self.jobs.pending(job_id, settings.name)
        if still:
            delay_s = pause_s(settings, max(one.tries for one in still))
            self.jobs.defer_deliveries(
                job_id,
                settings.name,
                until=utc_now() + timedelta(seconds=delay_s),
                enqueue=partial(
                    self.durable.enqueue_delivery, job_id=job_id, destination=settings.name, delay_s=delay_s
                ),
            )

    def _offer(
        self, job_id: str, pending: Sequence[PendingDelivery], known: tuple[DestinationSettings, Destination]
    ) -> None:
        settings, destination = known
        owed = {_uid(one): one for one in pending}
        taken: list[ResultObject] = []
        left: list[ResultObject] = []
        why = ""
        study_uid = self.jobs.job(job_id).study_uid
        self.audit.begun(study_uid, settings, [one.result for one in pending])
        said: set[Replacement] = set()
        try:
            for outcome in destination.send([one.result for one in pending]):
                attempted = owed.pop(outcome.sop_instance_uid)
                (taken if outcome.accepted else left).append(attempted.result)
                why = why or ("" if outcome.accepted else outcome.message)
                replacements = self._record(job_id, settings, attempted, outcome)
                for one in replacements:
                    if one not in said:
                        log.warning(
                            "delivery_fallback",
                            refused=one.kind.value,
                            instead=None if one.instead is None else one.instead.value,
                        )
                said.update(replacements)
        except PeerUnavailable as error:
            for uid, unsent in owed.items():
                later = SendOutcome(sop_instance_uid=uid, meaning=Meaning.LATER, status=None, message=str(error))
                self._record(job_id, settings, unsent, later)
                left.append(unsent.result)
            why = why or str(error)
        self.audit.ended(study_uid, settings, taken=taken, left=left, why=why)
        kinds = [one.kind.value for one in taken]
        log.info("delivery_attempted", accepted=len(taken), objects=len(pending), kinds=kinds)

    def _record(
        self, job_id: str, settings: DestinationSettings, attempted: PendingDelivery, outcome: SendOutcome
    ) -> tuple[Replacement, ...]:
        """Returns everything that the destination gets in place of something, where the outcome bears on that."""
        now = utc_now()
        first_try_at = attempted.first_try_at
        state = state_after(outcome.meaning, settings=settings, first_try_at=first_try_at, now=now)
        if not outcome.accepted:
            log.warning(
                "delivery_failed",
                sop_instance_uid=_uid(attempted),
                kind=attempted.result.kind.value,
                state=state.value,
                tries=attempted.tries + 1,
                error=outcome.message,
            )
        return self.jobs.record_delivery(
            job_id,
            destination=settings.name,
            sop_instance_uid=_uid(attempted),
            state=state,
            error="" if outcome.accepted else outcome.message,
            now=now,
        )

    def _refuse_unknown(self, job_id: str, destination: str) -> None:
        for one in self.jobs.pending(job_id, destination):
            self.jobs.record_delivery(
                job_id,
                destination=destination,
                sop_instance_uid=_uid(one),
                state=DeliveryState.REFUSED,
                error="this destination is not in the configuration any more",
                now=utc_now(),
            )


def _uid(one: PendingDelivery) -> str:
    return one.result.sop_instance_uid
