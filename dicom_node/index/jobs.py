"""Jobs, results and deliveries: what has to happen to a complete study, and how far it is.

Every method is one transaction. Nothing here decides; the flow does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from dicom_node.errors import StorageCorrupt
from dicom_node.index.engine_waits import begin_wait, end_wait, waiting_since
from dicom_node.index.stand_ins import Replacement, in_words, keep_plan, replace_not_taken
from dicom_node.index.tables import (
    add_history,
    decisions,
    deliveries,
    jobs,
    last_history,
    moment,
    results,
    seconds,
    studies,
)
from dicom_node.records import DeliveryState, ResultKind, ResultObject, SeriesDecision, StudyState

UNFINISHED = (StudyState.QUEUED.value, StudyState.ANALYSING.value)
"""States of a job whose results are not written yet."""

ENDED_WELL = (DeliveryState.DELIVERED.value, DeliveryState.REPLACED.value)
"""States of a delivery that need nobody any more."""

Enqueue = Callable[[sa.Connection], str]
"""Adds a workflow to the open transaction and returns its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The work on one generation of a study."""

    job_id: str
    study_uid: str
    generation: int
    state: StudyState
    created_at: datetime
    """When the study was complete; also the content date and time of its results, so that a re-run repeats them."""
    starts: int
    workflow_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingDelivery:
    """One object that a destination has not taken yet."""

    result: ResultObject
    tries: int
    first_try_at: datetime | None


class JobTable:
    """Jobs, results and deliveries. Safe to use from several threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def job(self, job_id: str) -> Job:
        """Raises ``StorageCorrupt`` for an unknown id."""
        with self._engine.connect() as connection:
            row = connection.execute(jobs.select().where(jobs.c.job_id == job_id)).first()
        if row is None:
            raise StorageCorrupt(
                f"job {job_id} has a workflow but no row in the index; restore the index from a backup"
            )
        return _job(row)

    def begin(self, job_id: str) -> Job | None:
        """Count a start of the analysis, before it can harm the process. ``None``: there is nothing left to do."""
        with self._engine.begin() as connection:
            started = connection.execute(
                jobs.update()
                .where(jobs.c.job_id == job_id, jobs.c.state.in_(UNFINISHED))
                .values(state=StudyState.ANALYSING.value, starts=jobs.c.starts + 1)
                .returning(jobs.c.job_id)
            ).first()
            if started is None:
                return None
            _follow(connection, job_id, StudyState.ANALYSING, "")
        return self.job(job_id)

    def unfinished(self) -> tuple[Job, ...]:
        """Jobs without results, oldest first."""
        query = jobs.select().where(jobs.c.state.in_(UNFINISHED)).order_by(jobs.c.created_at)
        with self._engine.connect() as connection:
            return tuple(_job(row) for row in connection.execute(query))

    def newest(self, study_uid: str) -> Job | None:
        """The job of the newest complete generation."""
        query = jobs.select().where(jobs.c.study_uid == study_uid).order_by(jobs.c.generation.desc())
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else _job(row)

    def requeue(
        self, job_id: str, *, now: datetime, why: str, enqueue: Enqueue, fresh: bool = False, forgive: int = 0
    ) -> None:
        """Give a job a new workflow in one commit.

        ``fresh`` forgives all earlier starts (an operator asked), ``forgive`` that many: the job waits for its engine,
        which is no fault of the study. A reason that is the last line of its history already is not written again.
        """
        with self._engine.begin() as connection:
            values: dict[str, object] = {"state": StudyState.QUEUED.value, "workflow_id": enqueue(connection)}
            if fresh:
                values["starts"] = 0
                end_wait(connection, job_id)
            elif forgive:
                values["starts"] = jobs.c.starts - forgive
                begin_wait(connection, job_id, now)
            connection.execute(jobs.update().where(jobs.c.job_id == job_id).values(**values))
            _follow(connection, job_id, StudyState.QUEUED, why if forgive else "")
            study_uid = _study_of(connection, job_id)
            if last_history(connection, study_uid) != ("queued_again", why):
                add_history(connection, study_uid, now, "queued_again", why)

    def waits_since(self, job_id: str) -> datetime | None:
        """When a job began to wait for its engine, since its last end or an operator's retry; ``None``: it does not."""
        with self._engine.connect() as connection:
            return waiting_since(connection, job_id)

    def park(self, job_id: str, *, now: datetime, reason: str) -> None:
        """Stop work on a job until an operator asks for a retry."""
        with self._engine.begin() as connection:
            connection.execute(
                jobs.update().where(jobs.c.job_id == job_id).values(state=StudyState.FAILED.value, reason=reason)
            )
            _follow(connection, job_id, StudyState.FAILED, reason)
            end_wait(connection, job_id)
            add_history(connection, _study_of(connection, job_id), now, "failed", reason)

    def finish(
        self,
        job_id: str,
        *,
        now: datetime,
        findings: str,
        series_decisions: Sequence[SeriesDecision],
        objects: Sequence[ResultObject],
        stand_ins: Mapping[str, str],
        destinations: Mapping[str, tuple[tuple[ResultKind, ...], Enqueue]],
    ) -> None:
        """Record what an analysis wrote and make its deliveries and their workflows, in one commit.

        ``stand_ins``: the SOP Instance UID of what goes in place of an object where its SOP class is not taken.
        An object whose UID an earlier job wrote already stays as it was, and is not sent again.
        """
        with self._engine.begin() as connection:
            study_uid = _study_of(connection, job_id)
            connection.execute(decisions.delete().where(decisions.c.job_id == job_id))
            for decision in series_decisions:
                connection.execute(
                    decisions.insert().values(
                        job_id=job_id,
                        series_uid=decision.series_uid,
                        pipeline=decision.pipeline,
                        reason=decision.reason,
                    )
                )
            for written in objects:
                _insert_result(connection, study_uid, job_id, written)
            keep_plan(connection, stand_ins)
            waiting = 0
            for name, (kinds, enqueue) in destinations.items():
                wanted = [written for written in objects if written.kind in kinds]
                workflow_id = enqueue(connection) if wanted else ""
                for written in wanted:
                    waiting += _insert_delivery(connection, job_id, name, written, workflow_id)
            state = StudyState.DELIVERING if waiting else StudyState.DONE
            connection.execute(
                jobs.update()
                .where(jobs.c.job_id == job_id)
                .values(state=state.value, reason="", findings=findings, results_at=seconds(now))
            )
            _follow(connection, job_id, state, "")
            end_wait(connection, job_id)
            add_history(connection, study_uid, now, "results_written", f"{len(objects)} objects")

    def pending(self, job_id: str, destination: str) -> tuple[PendingDelivery, ...]:
        """What this job still owes to a destination."""
        query = (
            sa.select(results, deliveries.c.tries, deliveries.c.first_try_at)
            .join(deliveries, deliveries.c.sop_instance_uid == results.c.sop_instance_uid)
            .where(
                deliveries.c.job_id == job_id,
                deliveries.c.destination == destination,
                deliveries.c.state == DeliveryState.WAITING.value,
            )
            .order_by(results.c.kind)
        )
        with self._engine.connect() as connection:
            return tuple(
                PendingDelivery(
                    result=_result(row),
                    tries=row.tries,
                    first_try_at=None if row.first_try_at is None else moment(row.first_try_at),
                )
                for row in connection.execute(query)
            )

    def waiting_deliveries(self) -> tuple[tuple[str, str, str], ...]:
        """(job id, destination, workflow id) of everything that is not delivered, refused or expired."""
        query = (
            sa.select(deliveries.c.job_id, deliveries.c.destination, deliveries.c.workflow_id)
            .where(deliveries.c.state == DeliveryState.WAITING.value)
            .distinct()
        )
        with self._engine.connect() as connection:
            return tuple((row.job_id, row.destination, row.workflow_id) for row in connection.execute(query))

    def record_delivery(
        self, job_id: str, *, destination: str, sop_instance_uid: str, state: DeliveryState, error: str, now: datetime
    ) -> tuple[Replacement, ...]:
        """Note how one attempt on one object ended, at once: the next object's attempt may kill the process.

        Where its SOP class is not taken, what goes in its place comes to be owed in the same commit. Returns what all
        that is not taken is replaced by; nothing after other outcomes.
        """
        here = (deliveries.c.destination == destination) & (deliveries.c.sop_instance_uid == sop_instance_uid)
        with self._engine.begin() as connection:
            connection.execute(
                deliveries.update()
                .where(here)
                .values(
                    state=state.value,
                    tries=deliveries.c.tries + 1,
                    first_try_at=sa.func.coalesce(deliveries.c.first_try_at, seconds(now)),
                    last_error=error,
                    delivered_at=seconds(now) if state is DeliveryState.DELIVERED else None,
                )
            )
            return replace_not_taken(connection, job_id, destination) if state is DeliveryState.UNSUPPORTED else ()

    def defer_deliveries(
        self, job_id: str, destination: str, *, until: datetime, enqueue: Enqueue, fresh: bool = False
    ) -> None:
        """Give what is still owed a later workflow; ``fresh`` forgives earlier tries and refusals."""
        here = (deliveries.c.job_id == job_id) & (deliveries.c.destination == destination)
        values: dict[str, object] = {"next_try_at": seconds(until)}
        if fresh:
            here &= deliveries.c.state != DeliveryState.DELIVERED.value
            values |= {"state": DeliveryState.WAITING.value, "tries": 0, "first_try_at": None}
        else:
            here &= deliveries.c.state == DeliveryState.WAITING.value
        with self._engine.begin() as connection:
            connection.execute(deliveries.update().where(here).values(workflow_id=enqueue(connection), **values))

    def settle_deliveries(self, job_id: str, *, now: datetime) -> StudyState | None:
        """Close the job when nothing is owed any more. Returns its final state, or ``None`` while something is."""
        with self._engine.begin() as connection:
            rows = connection.execute(deliveries.select().where(deliveries.c.job_id == job_id)).all()
            if any(row.state == DeliveryState.WAITING.value for row in rows):
                return None
            unhappy = sorted({f"{row.destination}: {row.last_error}" for row in rows if row.state not in ENDED_WELL})
            state = StudyState.FAILED if unhappy else StudyState.DONE
            replaced_at = sorted({row.destination for row in rows if row.state == DeliveryState.REPLACED.value})
            reason = "results not delivered: " + "; ".join(unhappy) if unhappy else ""
            if replaced_at and not unhappy:
                reason = "; ".join(in_words(connection, job_id, name) for name in replaced_at)
            connection.execute(jobs.update().where(jobs.c.job_id == job_id).values(state=state.value, reason=reason))
            _follow(connection, job_id, state, reason)
            add_history(connection, _study_of(connection, job_id), now, state.value, reason)
        return state

    def undelivered_destinations(self, job_id: str) -> tuple[str, ...]:
        """Destinations that have not taken every object of a job, nor another in its place."""
        query = (
            sa.select(deliveries.c.destination)
            .where(deliveries.c.job_id == job_id, deliveries.c.state.not_in(ENDED_WELL))
            .distinct()
        )
        with self._engine.connect() as connection:
            return tuple(connection.scalars(query))

    def reopen(self, job_id: str, *, now: datetime, why: str) -> None:
        """Put a job whose results are written back to delivering."""
        with self._engine.begin() as connection:
            state = StudyState.DELIVERING
            connection.execute(jobs.update().where(jobs.c.job_id == job_id).values(state=state.value, reason=""))
            _follow(connection, job_id, state, "")
            add_history(connection, _study_of(connection, job_id), now, "queued_again", why)


def _follow(connection: sa.Connection, job_id: str, state: StudyState, reason: str) -> None:
    """Let the study's state follow its job's, unless late instances have opened a newer generation."""
    newest = sa.select(jobs.c.study_uid, jobs.c.generation).where(jobs.c.job_id == job_id).subquery()
    connection.execute(
        studies.update()
        .where(studies.c.study_uid == newest.c.study_uid, studies.c.generation == newest.c.generation)
        .values(state=state.value, reason=reason)
    )


def _study_of(connection: sa.Connection, job_id: str) -> str:
    return str(connection.scalar(sa.select(jobs.c.study_uid).where(jobs.c.job_id == job_id)))


def _insert_result(connection: sa.Connection, study_uid: str, job_id: str, written: ResultObject) -> None:
    known = connection.scalar(sa.select(results.c.job_id).where(results.c.sop_instance_uid == written.sop_instance_uid))
    if known is None:
        connection.execute(
            results.insert().values(
                sop_instance_uid=written.sop_instance_uid,
                study_uid=study_uid,
                job_id=job_id,
                kind=written.kind.value,
                sop_class_uid=written.sop_class_uid,
                series_uid=written.series_uid,
                path=str(written.path),
            )
        )


def _insert_delivery(
    connection: sa.Connection, job_id: str, destination: str, written: ResultObject, workflow_id: str
) -> int:
    """Returns 1 where the object is owed, 0 where the destination has it already."""
    here = (deliveries.c.destination == destination) & (deliveries.c.sop_instance_uid == written.sop_instance_uid)
    state = connection.scalar(sa.select(deliveries.c.state).where(here))
    if state == DeliveryState.DELIVERED.value:
        return 0
    if state is None:
        connection.execute(
            deliveries.insert().values(
                destination=destination,
                sop_instance_uid=written.sop_instance_uid,
                job_id=job_id,
                state=DeliveryState.WAITING.value,
                tries=0,
                last_error="",
                workflow_id=workflow_id,
            )
        )
    else:
        connection.execute(
            deliveries.update()
            .where(here)
            .values(
                state=DeliveryState.WAITING.value,
                job_id=job_id,
                tries=0,
                first_try_at=None,
                last_error="",
                workflow_id=workflow_id,
            )
        )
    return 1


def _job(row: sa.Row[tuple[object, ...]]) -> Job:
    return Job(
        job_id=row.job_id,
        study_uid=row.study_uid,
        generation=row.generation,
        state=StudyState(row.state),
        created_at=moment(row.created_at),
        starts=row.starts,
        workflow_id=row.workflow_id,
    )


def _result(row: sa.Row[tuple[object, ...]]) -> ResultObject:
    return ResultObject(
        kind=ResultKind(row.kind),
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        series_uid=row.series_uid,
        path=Path(row.path),
    )
