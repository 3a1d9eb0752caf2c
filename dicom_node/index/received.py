"""What has been received: instances, and the generations of studies.

A study's first instance opens generation 1. When a job has been made for a generation, the next instance
opens the following one, so that late instances get a job of their own (and never change a running one).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from pydantic import TypeAdapter

from dicom_node.errors import StorageCorrupt
from dicom_node.index.holdings import Holdings
from dicom_node.index.tables import add_history, instances, jobs, moment, results, seconds, studies
from dicom_node.records import InstanceFacts, Part10File, Series, Stored, StoredInstance, StudyState

_FACTS = TypeAdapter(InstanceFacts)
OWN_RESULT = 0
"""Generation of an object that we made ourselves and that a PACS routed back: stored, never a reason to work."""
UIDS_A_QUERY = 500
"""SQLite takes 32,766 parameters in a statement, older ones 999."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An instance that has just become durable."""

    instance: StoredInstance
    received_at: datetime
    calling_ae: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyProgress:
    """A study that is still being received."""

    study_uid: str
    generation: int
    last_received_at: Mapping[str, datetime]
    """Arrival of the newest instance of every series."""


class Index:
    """Received instances and studies. Safe to use from several threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._holdings = Holdings(engine)

    def find_instance(self, sop_instance_uid: str) -> StoredInstance | None:
        """The durable instance of that UID."""
        with self._engine.connect() as connection:
            row = connection.execute(instances.select().where(instances.c.sop_instance_uid == sop_instance_uid)).first()
        return None if row is None else _stored(row)

    def held(self, sop_instance_uid: str) -> Stored | None:
        """Where the durable instance of that UID lies."""
        return self._holdings.find(sop_instance_uid)

    def known_ends(self) -> dict[Path, int]:
        """Of every file that has rows, where the last of its instances ends."""
        query = sa.select(instances.c.path, sa.func.max(instances.c.start + instances.c.file_bytes))
        with self._engine.connect() as connection:
            return {Path(path): end for path, end in connection.execute(query.group_by(instances.c.path))}

    def add_instances(self, arrivals: Sequence[Arrival]) -> tuple[str, ...]:
        """Commit rows for instances that are durable in the spool, all or none. A row that is there stays as it is;
        only its place follows the file, because a data folder may have been moved or restored, and damage mended.

        Returns the SOP Instance UIDs whose row there already names other content.
        """
        uids = [arrival.instance.facts.sop_instance_uid for arrival in arrivals]
        contradicted = []
        fresh: dict[str, Arrival] = {}
        with self._engine.begin() as connection:
            taken = _digests(connection, uids)
            ours = _own_results(connection, uids)
            for uid, arrival in zip(uids, arrivals, strict=True):
                if uid not in taken:
                    taken[uid] = arrival.instance.digest
                    fresh[uid] = arrival
                elif taken[uid] != arrival.instance.digest:
                    contradicted.append(uid)
                elif uid in fresh:
                    fresh[uid] = arrival  # came again because what was there is damaged by now
                else:
                    moved = instances.update().where(instances.c.sop_instance_uid == uid)
                    connection.execute(moved.values(_place(arrival.instance)))
            times: dict[str, list[datetime]] = {}
            for uid, arrival in fresh.items():
                if uid not in ours:
                    times.setdefault(arrival.instance.facts.study_uid, []).append(arrival.received_at)
            opened = {study: self._open_generation(connection, study, min(at), max(at)) for study, at in times.items()}
            rows = [
                _row(arrival, OWN_RESULT if uid in ours else opened[arrival.instance.facts.study_uid])
                for uid, arrival in fresh.items()
            ]
            if rows:
                connection.execute(instances.insert(), rows)
        return tuple(contradicted)

    def receiving(self) -> tuple[StudyProgress, ...]:
        """Studies whose current generation has no job yet."""
        query = (
            sa.select(
                studies.c.study_uid,
                studies.c.generation,
                instances.c.series_uid,
                sa.func.max(instances.c.received_at),
            )
            .join(instances, instances.c.study_uid == studies.c.study_uid)
            .where(studies.c.state == StudyState.RECEIVING.value, instances.c.generation == studies.c.generation)
            .group_by(studies.c.study_uid, studies.c.generation, instances.c.series_uid)
        )
        found: dict[tuple[str, int], dict[str, datetime]] = {}
        with self._engine.connect() as connection:
            for study_uid, generation, series_uid, newest in connection.execute(query):
                found.setdefault((study_uid, generation), {})[series_uid] = moment(newest)
        return tuple(
            StudyProgress(study_uid=study_uid, generation=generation, last_received_at=newest)
            for (study_uid, generation), newest in found.items()
        )

    def close_generation(
        self,
        progress: StudyProgress,
        *,
        now: datetime,
        reason: str,
        enqueue: Callable[[sa.Connection, str], str],
    ) -> str | None:
        """Make the job of a complete generation and its workflow in one commit.

        ``enqueue`` is called with the open transaction and the job id and returns the workflow id. Returns the
        job id, or ``None`` when an instance arrived in the meantime (the study is then judged again).
        """
        job_id = f"{progress.study_uid}/{progress.generation}"
        with self._engine.begin() as connection:
            newest = connection.scalar(
                sa.select(sa.func.max(instances.c.received_at)).where(
                    instances.c.study_uid == progress.study_uid, instances.c.generation == progress.generation
                )
            )
            state = connection.scalar(sa.select(studies.c.state).where(studies.c.study_uid == progress.study_uid))
            judged = max(seconds(at) for at in progress.last_received_at.values())
            if newest != judged or state != StudyState.RECEIVING.value:
                return None
            connection.execute(
                jobs.insert().values(
                    job_id=job_id,
                    study_uid=progress.study_uid,
                    generation=progress.generation,
                    state=StudyState.QUEUED.value,
                    reason="",
                    created_at=seconds(now),
                    starts=0,
                    workflow_id=enqueue(connection, job_id),
                    findings="",
                )
            )
            connection.execute(
                studies.update().where(studies.c.study_uid == progress.study_uid).values(state=StudyState.QUEUED.value)
            )
            add_history(connection, progress.study_uid, now, "complete", reason)
        return job_id

    def instances_of_study(self, study_uid: str) -> tuple[StoredInstance, ...]:
        """Everything that was received of it, our own results too where a PACS sent them back."""
        query = instances.select().where(instances.c.study_uid == study_uid).order_by(instances.c.sop_instance_uid)
        with self._engine.connect() as connection:
            return tuple(_stored(row) for row in connection.execute(query))

    def series_of_study(self, study_uid: str, *, generation: int) -> tuple[Series, ...]:
        """All instances that had arrived when ``generation`` was complete, by series; our own results left out."""
        query = (
            instances.select()
            .where(
                instances.c.study_uid == study_uid,
                instances.c.generation <= generation,
                instances.c.generation != OWN_RESULT,
            )
            .order_by(instances.c.series_uid, instances.c.sop_instance_uid)
        )
        with self._engine.connect() as connection:
            return _by_series(_stored(row) for row in connection.execute(query))

    def _open_generation(self, connection: sa.Connection, study_uid: str, first_at: datetime, last_at: datetime) -> int:
        study = connection.execute(studies.select().where(studies.c.study_uid == study_uid)).first()
        if study is None:
            connection.execute(
                studies.insert().values(
                    study_uid=study_uid,
                    generation=1,
                    state=StudyState.RECEIVING.value,
                    reason="",
                    first_received_at=seconds(first_at),
                    last_received_at=seconds(last_at),
                )
            )
            add_history(connection, study_uid, first_at, "receiving")
            return 1
        generation = int(study.generation)
        if study.state != StudyState.RECEIVING.value:
            generation += 1
            add_history(connection, study_uid, first_at, "late_instances", f"generation {generation} opened")
        connection.execute(
            studies.update()
            .where(studies.c.study_uid == study_uid)
            .values(
                generation=generation,
                state=StudyState.RECEIVING.value,
                reason="",
                last_received_at=seconds(last_at),
            )
        )
        return generation

    def ping(self) -> None:
        """Raises ``StorageCorrupt`` when the database cannot be read."""
        try:
            with self._engine.connect() as connection:
                connection.execute(sa.select(studies.c.study_uid).limit(1))
        except sa.exc.SQLAlchemyError as error:
            raise StorageCorrupt(
                f"the index cannot be read ({type(error).__name__}): look at its disk, or restore it from a backup"
            ) from error


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


def _stored(row: sa.Row[tuple[object, ...]]) -> StoredInstance:
    return StoredInstance(
        facts=_FACTS.validate_json(row.facts),
        file=Part10File(Path(row.path), row.start, row.file_bytes),
        digest=row.digest,
        size_bytes=row.size_bytes,
    )


def _row(arrival: Arrival, generation: int) -> dict[str, object]:
    instance, facts = arrival.instance, arrival.instance.facts
    return {
        "sop_instance_uid": facts.sop_instance_uid,
        "study_uid": facts.study_uid,
        "series_uid": facts.series_uid,
        "generation": generation,
        "facts": _FACTS.dump_json(facts).decode(),
        **_place(instance),
        "digest": instance.digest,
        "size_bytes": instance.size_bytes,
        "received_at": seconds(arrival.received_at),
        "calling_ae": arrival.calling_ae,
    }


def _place(instance: StoredInstance) -> dict[str, object]:
    file = instance.file
    return {"path": str(file.path), "start": file.start, "file_bytes": file.size_bytes}


def _digests(connection: sa.Connection, uids: Sequence[str]) -> dict[str, str]:
    """Of those of the instances that have a row."""
    found: dict[str, str] = {}
    for some in _batches(uids):
        query = sa.select(instances.c.sop_instance_uid, instances.c.digest)
        for uid, digest in connection.execute(query.where(instances.c.sop_instance_uid.in_(some))):
            found[uid] = digest
    return found


def _own_results(connection: sa.Connection, uids: Sequence[str]) -> frozenset[str]:
    """Those of the UIDs that objects of ours have."""
    query = sa.select(results.c.sop_instance_uid)
    batches = (query.where(results.c.sop_instance_uid.in_(some)) for some in _batches(uids))
    return frozenset(uid for batch in batches for uid in connection.scalars(batch))


def _batches(uids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (uids[start : start + UIDS_A_QUERY] for start in range(0, len(uids), UIDS_A_QUERY))


def _by_series(stored: Iterable[StoredInstance]) -> tuple[Series, ...]:
    series: dict[tuple[str, str], list[StoredInstance]] = {}
    for instance in stored:
        series.setdefault((instance.facts.study_uid, instance.facts.series_uid), []).append(instance)
    return tuple(
        Series(study_uid=study_uid, series_uid=series_uid, instances=tuple(members))
        for (study_uid, series_uid), members in series.items()
    )
