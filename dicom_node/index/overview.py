"""What people ask: where is this study, why, and what became of its results. Reading only."""

import json
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from dicom_node.index.stand_ins import find_stand_in
from dicom_node.index.tables import decisions, deliveries, history, instances, jobs, moment, results, studies
from dicom_node.records import DeliveryState


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOverview:
    """A line of the list of studies."""

    study_uid: str
    state: str
    reason: str
    outcome: str
    """positive, negative, not_analysed, or empty while there is no result."""
    generation: int
    instances: int
    first_received_at: datetime
    last_received_at: datetime


class Overview:
    """Read-only questions about studies, answered as plain values ready for JSON."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def states(self) -> dict[str, int]:
        """How many studies are in each state; states without a study are left out."""
        query = sa.select(studies.c.state, sa.func.count().label("studies")).group_by(studies.c.state)
        with self._engine.connect() as connection:
            return {str(row.state): int(row.studies) for row in connection.execute(query)}

    def studies(self, *, limit: int = 200) -> tuple[StudyOverview, ...]:
        """The studies with the newest arrivals first."""
        counted = (
            sa.select(instances.c.study_uid, sa.func.count().label("instances"))
            .group_by(instances.c.study_uid)
            .subquery()
        )
        query = (
            sa.select(studies, counted.c.instances, jobs.c.findings)
            .outerjoin(counted, counted.c.study_uid == studies.c.study_uid)
            .outerjoin(jobs, (jobs.c.study_uid == studies.c.study_uid) & (jobs.c.generation == studies.c.generation))
            .order_by(studies.c.last_received_at.desc())
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return tuple(
                StudyOverview(
                    study_uid=row.study_uid,
                    state=row.state,
                    reason=row.reason,
                    outcome=json.loads(row.findings)["status"] if row.findings else "",
                    generation=row.generation,
                    instances=row.instances or 0,
                    first_received_at=moment(row.first_received_at),
                    last_received_at=moment(row.last_received_at),
                )
                for row in connection.execute(query)
            )

    def study(self, study_uid: str) -> dict[str, object] | None:
        """Everything about one study: state, series, decisions with reasons, findings, results, deliveries, history."""
        with self._engine.connect() as connection:
            row = connection.execute(studies.select().where(studies.c.study_uid == study_uid)).first()
            if row is None:
                return None
            newest = connection.execute(
                jobs.select().where(jobs.c.study_uid == study_uid).order_by(jobs.c.generation.desc())
            ).first()
            return {
                "study_uid": study_uid,
                "state": row.state,
                "reason": row.reason,
                "generation": row.generation,
                "first_received_at": moment(row.first_received_at).isoformat(),
                "last_received_at": moment(row.last_received_at).isoformat(),
                "series": _series(connection, study_uid),
                "decisions": [] if newest is None else _decisions(connection, newest.job_id),
                "findings": json.loads(newest.findings) if newest is not None and newest.findings else None,
                "results": _results(connection, study_uid),
                "deliveries": _deliveries(connection, study_uid),
                "history": _history(connection, study_uid),
            }

    def count_by_state(self) -> dict[str, int]:
        """How many studies are in each state."""
        query = sa.select(studies.c.state, sa.func.count()).group_by(studies.c.state)
        with self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}


def _series(connection: sa.Connection, study_uid: str) -> list[dict[str, object]]:
    query = (
        sa.select(
            instances.c.series_uid,
            sa.func.count().label("instances"),
            sa.func.sum(instances.c.size_bytes).label("bytes"),
            sa.func.max(instances.c.received_at).label("newest"),
            sa.func.max(instances.c.facts).label("facts"),
        )
        .where(instances.c.study_uid == study_uid)
        .group_by(instances.c.series_uid)
        .order_by(instances.c.series_uid)
    )
    found: list[dict[str, object]] = []
    for row in connection.execute(query):
        facts = json.loads(row.facts)
        found.append(
            {
                "series_uid": row.series_uid,
                "modality": facts["modality"],
                "series_number": facts["series_number"],
                "series_description": facts["series_description"],
                "instances": row.instances,
                "bytes": row.bytes,
                "last_received_at": moment(row.newest).isoformat(),
            }
        )
    return found


def _decisions(connection: sa.Connection, job_id: str) -> list[dict[str, object]]:
    query = decisions.select().where(decisions.c.job_id == job_id).order_by(decisions.c.series_uid)
    return [
        {"series_uid": row.series_uid, "pipeline": row.pipeline, "reason": row.reason}
        for row in connection.execute(query)
    ]


def _results(connection: sa.Connection, study_uid: str) -> list[dict[str, object]]:
    query = results.select().where(results.c.study_uid == study_uid).order_by(results.c.job_id, results.c.kind)
    return [
        {
            "kind": row.kind,
            "sop_instance_uid": row.sop_instance_uid,
            "sop_class_uid": row.sop_class_uid,
            "series_uid": row.series_uid,
            "path": row.path,
        }
        for row in connection.execute(query)
    ]


def _deliveries(connection: sa.Connection, study_uid: str) -> list[dict[str, object]]:
    query = (
        sa.select(deliveries, results.c.kind)
        .join(results, results.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(results.c.study_uid == study_uid)
        .order_by(deliveries.c.destination, deliveries.c.sop_instance_uid)
    )
    return [
        {
            "destination": row.destination,
            "kind": row.kind,
            "sop_instance_uid": row.sop_instance_uid,
            "state": row.state,
            "in_its_place": _in_its_place(connection, row),
            "tries": row.tries,
            "last_error": row.last_error,
            "next_try_at": None if row.next_try_at is None else moment(row.next_try_at).isoformat(),
            "delivered_at": None if row.delivered_at is None else moment(row.delivered_at).isoformat(),
        }
        for row in connection.execute(query)
    ]


def _in_its_place(connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> str | None:
    """Kind of what a destination gets in place of an object that it does not take."""
    if row.state != DeliveryState.REPLACED.value:
        return None
    found = find_stand_in(connection, row.destination, row.sop_instance_uid)
    return None if found is None else found.kind.value


def _history(connection: sa.Connection, study_uid: str) -> list[dict[str, object]]:
    query = history.select().where(history.c.study_uid == study_uid).order_by(history.c.id)
    return [
        {"at": moment(row.at).isoformat(), "event": row.event, "detail": row.detail}
        for row in connection.execute(query)
    ]
