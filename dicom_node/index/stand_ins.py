"""What stands in for an object whose SOP class a destination does not take: the plan, kept and followed.

The plan comes with the results (``dicom_node.delivery.fallbacks`` makes it). Statements for the caller's transaction:
a refusal and what follows from it are one commit, so that no crash comes between them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from dicom_node.index.tables import deliveries, results, stand_ins
from dicom_node.records import DeliveryState, ResultKind

AT_HAND = (DeliveryState.WAITING.value, DeliveryState.DELIVERED.value)
"""A stand-in in one of these states is on its way, or there already."""
NOT_TAKEN = (DeliveryState.UNSUPPORTED.value, DeliveryState.REPLACED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """What became of an object whose SOP class a destination does not take."""

    kind: ResultKind
    instead: ResultKind | None
    """What it gets in its place, perhaps anyway; ``None`` where it takes nothing of the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """An object that may go in place of another."""

    sop_instance_uid: str
    kind: ResultKind
    state: DeliveryState | None
    """How far it is on its way to the destination; ``None`` where it was never to go there."""


def keep_plan(connection: sa.Connection, plan: Mapping[str, str]) -> None:
    """Note the stand-in of each object; a later analysis that writes the same objects lays its plan over it."""
    for sop_instance_uid, stand_in_uid in plan.items():
        connection.execute(stand_ins.delete().where(stand_ins.c.sop_instance_uid == sop_instance_uid))
        connection.execute(stand_ins.insert().values(sop_instance_uid=sop_instance_uid, stand_in_uid=stand_in_uid))


def find_stand_in(connection: sa.Connection, destination: str, sop_instance_uid: str) -> StandIn | None:
    """The first in an object's line that the destination has, waits for, or was never offered."""
    seen = {sop_instance_uid}
    current = sop_instance_uid
    while True:
        row = connection.execute(
            sa.select(results.c.sop_instance_uid, results.c.kind, deliveries.c.state)
            .join(stand_ins, stand_ins.c.stand_in_uid == results.c.sop_instance_uid)
            .outerjoin(
                deliveries,
                (deliveries.c.sop_instance_uid == results.c.sop_instance_uid)
                & (deliveries.c.destination == destination),
            )
            .where(stand_ins.c.sop_instance_uid == current)
        ).first()
        if row is None or row.sop_instance_uid in seen:
            return None
        if row.state is None or row.state in AT_HAND:
            state = None if row.state is None else DeliveryState(row.state)
            return StandIn(sop_instance_uid=row.sop_instance_uid, kind=ResultKind(row.kind), state=state)
        current = row.sop_instance_uid
        seen.add(current)


def replace_not_taken(connection: sa.Connection, job_id: str, destination: str) -> tuple[Replacement, ...]:
    """Find the stand-in of everything that the destination does not take, and owe it what it does not get yet.

    All of them, not only the newest: what was to stand in for others may itself not be taken.
    """
    replacements = []
    for row in _not_taken(connection, job_id, destination):
        found = find_stand_in(connection, destination, row.sop_instance_uid)
        if found is not None and found.state is None:
            connection.execute(
                deliveries.insert().values(
                    destination=destination,
                    sop_instance_uid=found.sop_instance_uid,
                    job_id=job_id,
                    state=DeliveryState.WAITING.value,
                    tries=0,
                    last_error="",
                    workflow_id=row.workflow_id,
                )
            )
        state = DeliveryState.UNSUPPORTED if found is None else DeliveryState.REPLACED
        here = (deliveries.c.destination == destination) & (deliveries.c.sop_instance_uid == row.sop_instance_uid)
        connection.execute(deliveries.update().where(here).values(state=state.value))
        replacements.append(Replacement(kind=ResultKind(row.kind), instead=None if found is None else found.kind))
    return tuple(replacements)


def in_words(connection: sa.Connection, job_id: str, destination: str) -> str:
    """E.g. "pacs: summary in place of key_objects and segmentation"."""
    replaced: dict[str, list[str]] = {}
    for row in _not_taken(connection, job_id, destination):
        found = find_stand_in(connection, destination, row.sop_instance_uid)
        if found is not None:
            replaced.setdefault(found.kind.value, []).append(row.kind)
    return f"{destination}: " + ", ".join(f"{by} in place of {' and '.join(kinds)}" for by, kinds in replaced.items())


def _not_taken(connection: sa.Connection, job_id: str, destination: str) -> Sequence[sa.Row[tuple[object, ...]]]:
    query = (
        sa.select(deliveries, results.c.kind)
        .join(results, results.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(
            deliveries.c.job_id == job_id, deliveries.c.destination == destination, deliveries.c.state.in_(NOT_TAKEN)
        )
        .order_by(results.c.kind)
    )
    return connection.execute(query).all()
