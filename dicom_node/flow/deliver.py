"""One attempt to bring a job's results to one destination, and what follows from how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from dicom_node.delivery.base import Destination
from dicom_node.errors import PeerUnavailable
from dicom_node.flow.durable import Durable
from dicom_node.index import JobTable
from dicom_node.index.jobs import PendingDelivery
from dicom_node.index.received import utc_now
from dicom_node.records import DeliveryState
from dicom_node.settings import DestinationSettings

log = structlog.get_logger(__name__)

MOST_DOUBLINGS = 30
"""More would leave the range of floating point after weeks of tries; any bound is reached long before."""


def pause_s(settings: DestinationSettings, tries: int) -> float:
    """Pause before the attempt after ``tries`` failed ones: doubling, bounded."""
    doublings = min(max(tries - 1, 0), MOST_DOUBLINGS)
    return min(settings.retry_first_s * 2.0**doublings, settings.retry_longest_s)


def state_after_failure(
    settings: DestinationSettings, *, transient: bool, first_try_at: datetime | None, now: datetime
) -> DeliveryState:
    """What becomes of an object that was not taken."""
    if not transient:
        return DeliveryState.REFUSED
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

    def deliver(self, job_id: str, destination: str) -> None:
        """Workflow handler: one attempt; a later one is queued where something is still owed."""
        pending = self.jobs.pending(job_id, destination)
        known = self.destinations.get(destination)
        with structlog.contextvars.bound_contextvars(job_id=job_id, destination=destination):
            if known is None:
                self._refuse_unknown(pending, destination)
            elif pending:
                self._attempt(job_id, pending, known)
            state = self.jobs.settle_deliveries(job_id, now=utc_now())
            if state is not None:
                log.info("study_settled", state=state.value)

    def _attempt(
        self, job_id: str, pending: Sequence[PendingDelivery], known: tuple[DestinationSettings, Destination]
    ) -> None:
        settings, destination = known
        owed = {one.result.sop_instance_uid: one for one in pending}
        taken = 0
        try:
            for outcome in destination.send([one.result for one in pending]):
                attempted = owed.pop(outcome.sop_instance_uid)
                taken += outcome.accepted
                self._record(settings, attempted, outcome.accepted, outcome.transient, outcome.message)
        except PeerUnavailable as error:
            for unsent in owed.values():
                self._record(settings, unsent, False, True, str(error))
        log.info("delivery_attempted", accepted=taken, objects=len(pending))
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

    def _record(
        self,
        settings: DestinationSettings,
        attempted: PendingDelivery,
        accepted: bool,
        transient: bool,
        message: str,
    ) -> None:
        now = utc_now()
        state = (
            DeliveryState.DELIVERED
            if accepted
            else state_after_failure(settings, transient=transient, first_try_at=attempted.first_try_at, now=now)
        )
        if not accepted:
            log.warning(
                "delivery_failed",
                sop_instance_uid=attempted.result.sop_instance_uid,
                kind=attempted.result.kind.value,
                state=state.value,
                tries=attempted.tries + 1,
                error=message,
            )
        self.jobs.record_delivery(
            destination=settings.name,
            sop_instance_uid=attempted.result.sop_instance_uid,
            state=state,
            error="" if accepted else message,
            now=now,
        )

    def _refuse_unknown(self, pending: Sequence[PendingDelivery], destination: str) -> None:
        for one in pending:
            self.jobs.record_delivery(
                destination=destination,
                sop_instance_uid=one.result.sop_instance_uid,
                state=DeliveryState.REFUSED,
                error="this destination is not in the configuration any more",
                now=utc_now(),
            )
