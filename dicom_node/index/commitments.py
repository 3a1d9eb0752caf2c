"""Requests for storage commitment: kept before they are answered, until their report has been taken.

Every method is one transaction. Nothing here decides what is committed.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import sqlalchemy as sa

from dicom_node.errors import StorageCorrupt
from dicom_node.index.tables import commitments, moment, seconds
from dicom_node.records import CommitmentState, SopReference

Enqueue = Callable[[sa.Connection], str]
"""Adds a workflow to the open transaction and returns its id."""


class Opened(Enum):
    """What became of a request that was to be kept."""

    NEW = "new"
    """A report is under way."""
    UNDER_WAY = "under_way"
    """The same request is waiting already; one report answers both."""
    TOO_MANY = "too_many"
    """As many of this peer wait as may; it is not kept."""
    TAKEN = "taken"
    """Its Transaction UID belongs to a request for other instances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """A request of a peer, and how far its report is."""

    peer: str
    """AE title."""
    transaction_uid: str
    references: tuple[SopReference, ...]
    received_at: datetime
    state: CommitmentState
    tries: int
    last_error: str


class CommitmentTable:
    """Requests for storage commitment. Safe to use from several threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def open(
        self,
        peer: str,
        transaction_uid: str,
        references: Sequence[SopReference],
        *,
        now: datetime,
        most_waiting: int,
        enqueue: Enqueue,
    ) -> Opened:
        """Keep a request and make the workflow of its report, in one commit. One that has ended is opened again.

        ``most_waiting``: of this peer.
        """
        referenced = json.dumps([[one.sop_class_uid, one.sop_instance_uid] for one in references])
        with self._engine.begin() as connection:
            row = connection.execute(commitments.select().where(_is(peer, transaction_uid))).first()
            if row is not None and row.referenced != referenced:
                return Opened.TAKEN
            if row is not None and row.state == CommitmentState.WAITING.value:
                return Opened.UNDER_WAY
            if connection.execute(_count_waiting(peer)).scalar_one() >= most_waiting:
                return Opened.TOO_MANY
            connection.execute(commitments.delete().where(_is(peer, transaction_uid)))
            connection.execute(
                commitments.insert().values(
                    peer=peer,
                    transaction_uid=transaction_uid,
                    referenced=referenced,
                    received_at=seconds(now),
                    state=CommitmentState.WAITING.value,
                    tries=0,
                    last_error="",
                    workflow_id=enqueue(connection),
                )
            )
        return Opened.NEW

    def find(self, peer: str, transaction_uid: str) -> Commitment:
        """Raises ``StorageCorrupt`` for a request that was never kept."""
        with self._engine.connect() as connection:
            row = connection.execute(commitments.select().where(_is(peer, transaction_uid))).first()
        if row is None:
            raise StorageCorrupt(
                f"commitment {transaction_uid} of {peer} has a workflow but no row in the index; restore the index "
                "from a backup"
            )
        return Commitment(
            peer=row.peer,
            transaction_uid=row.transaction_uid,
            references=tuple(
                SopReference(sop_class_uid=class_uid, sop_instance_uid=instance_uid)
                for class_uid, instance_uid in json.loads(row.referenced)
            ),
            received_at=moment(row.received_at),
            state=CommitmentState(row.state),
            tries=row.tries,
            last_error=row.last_error,
        )

    def waiting(self) -> tuple[tuple[str, str, str], ...]:
        """(peer, transaction UID, workflow id) of everything that is not reported and not given up."""
        query = sa.select(commitments.c.peer, commitments.c.transaction_uid, commitments.c.workflow_id).where(
            commitments.c.state == CommitmentState.WAITING.value
        )
        with self._engine.connect() as connection:
            return tuple((row.peer, row.transaction_uid, row.workflow_id) for row in connection.execute(query))

    def defer(self, peer: str, transaction_uid: str, *, error: str, until: datetime, enqueue: Enqueue) -> None:
        """Count an attempt that failed, and queue the next. Without an error: queue again what lost its workflow."""
        with self._engine.begin() as connection:
            values: dict[str, object] = {"next_try_at": seconds(until), "workflow_id": enqueue(connection)}
            if error:
                values |= {"tries": commitments.c.tries + 1, "last_error": error}
            connection.execute(commitments.update().where(_is(peer, transaction_uid)).values(**values))

    def end(self, peer: str, transaction_uid: str, state: CommitmentState, *, now: datetime, error: str = "") -> None:
        """Note how it ended."""
        with self._engine.begin() as connection:
            connection.execute(
                commitments.update()
                .where(_is(peer, transaction_uid))
                .values(state=state.value, tries=commitments.c.tries + 1, last_error=error, reported_at=seconds(now))
            )

    def prune(self, *, before: datetime, most: int) -> int:
        """Forget what ended before that time, and the oldest beyond ``most``. Returns how much that was."""
        ended = commitments.c.state != CommitmentState.WAITING.value
        first_beyond = (
            sa.select(commitments.c.reported_at)
            .where(ended)
            .order_by(commitments.c.reported_at.desc())
            .offset(most)
            .limit(1)
            .scalar_subquery()
        )
        old = (commitments.c.reported_at < seconds(before)) | (commitments.c.reported_at <= first_beyond)
        with self._engine.begin() as connection:
            return connection.execute(commitments.delete().where(ended & old)).rowcount


def _count_waiting(peer: str) -> sa.Select[int]:
    waiting = (commitments.c.peer == peer) & (commitments.c.state == CommitmentState.WAITING.value)
    return sa.select(sa.func.count()).select_from(commitments).where(waiting)


def _is(peer: str, transaction_uid: str) -> sa.ColumnElement[bool]:
    return (commitments.c.peer == peer) & (commitments.c.transaction_uid == transaction_uid)
