"""Since when a job waits for the place where models run: what its patience is counted from.

Not since the study was complete: one that is taken up again after a year has all of its patience before it.
"""

from datetime import datetime

import sqlalchemy as sa

from dicom_node.index.tables import engine_waits, moment, seconds


def begin_wait(connection: sa.Connection, job_id: str, now: datetime) -> None:
    """Note that a job waits; where it waits already, since when stays as it was."""
    if waiting_since(connection, job_id) is None:
        connection.execute(engine_waits.insert().values(job_id=job_id, since=seconds(now)))


def waiting_since(connection: sa.Connection, job_id: str) -> datetime | None:
    """``None`` where it does not wait."""
    since = connection.scalar(sa.select(engine_waits.c.since).where(engine_waits.c.job_id == job_id))
    return None if since is None else moment(since)


def end_wait(connection: sa.Connection, job_id: str) -> None:
    """It ended, or an operator started it anew."""
    connection.execute(engine_waits.delete().where(engine_waits.c.job_id == job_id))
