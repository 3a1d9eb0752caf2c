"""The tables, and how the database is opened.

Times are UTC, stored as seconds since the epoch (float): SQLite has no time type and comparisons stay exact.
"""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from dicom_node.errors import StorageCorrupt

BUSY_TIMEOUT_MS = 30_000
"""A writer waits that long for another; commits take milliseconds, so reaching it means a sick disk."""

LAYOUT = 2
"""Of the tables, kept in the file; counts up where a table changes in a way that ``create_all`` cannot make."""

metadata = sa.MetaData()

studies = sa.Table(
    "studies",
    metadata,
    sa.Column("study_uid", sa.String, primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("first_received_at", sa.Float, nullable=False),
    sa.Column("last_received_at", sa.Float, nullable=False),
)
"""One row a study. ``generation`` counts up when instances arrive after the study was complete."""

instances = sa.Table(
    "instances",
    metadata,
    sa.Column("sop_instance_uid", sa.String, primary_key=True),
    sa.Column("study_uid", sa.String, nullable=False, index=True),
    sa.Column("series_uid", sa.String, nullable=False, index=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("facts", sa.String, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("start", sa.Integer, nullable=False),
    sa.Column("file_bytes", sa.Integer, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("received_at", sa.Float, nullable=False),
    sa.Column("calling_ae", sa.String, nullable=False),
    sa.Index("ix_instances_place", "path", "start", "file_bytes"),
)
"""One row a durable instance: the Part 10 file ``path[start : start + file_bytes]`` holds a data set of ``size_bytes``.
``generation``: of the study when it arrived; 0: one of our own results."""

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("job_id", sa.String, primary_key=True),
    sa.Column("study_uid", sa.String, nullable=False, index=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("starts", sa.Integer, nullable=False),
    sa.Column("workflow_id", sa.String, nullable=False),
    sa.Column("findings", sa.String, nullable=False),
    sa.Column("results_at", sa.Float),
)
"""One row a study generation. ``starts`` is our own poison counter: it survives what kills the process."""

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("job_id", sa.String, primary_key=True),
    sa.Column("series_uid", sa.String, primary_key=True),
    sa.Column("pipeline", sa.String),
    sa.Column("reason", sa.String, nullable=False),
)

results = sa.Table(
    "results",
    metadata,
    sa.Column("sop_instance_uid", sa.String, primary_key=True),
    sa.Column("study_uid", sa.String, nullable=False, index=True),
    sa.Column("job_id", sa.String, nullable=False, index=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("sop_class_uid", sa.String, nullable=False),
    sa.Column("series_uid", sa.String, nullable=False),
    sa.Column("path", sa.String, nullable=False),
)
"""One row an object that we wrote. A later job that arrives at the same UID keeps the first object."""

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("destination", sa.String, primary_key=True),
    sa.Column("sop_instance_uid", sa.String, primary_key=True),
    sa.Column("job_id", sa.String, nullable=False, index=True),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("first_try_at", sa.Float),
    sa.Column("next_try_at", sa.Float),
    sa.Column("last_error", sa.String, nullable=False),
    sa.Column("delivered_at", sa.Float),
    sa.Column("workflow_id", sa.String, nullable=False),
)
"""One row an object and destination: "exactly once in effect" is this primary key."""

stand_ins = sa.Table(
    "stand_ins",
    metadata,
    sa.Column("sop_instance_uid", sa.String, primary_key=True),
    sa.Column("stand_in_uid", sa.String, nullable=False),
)
"""What goes in place of an object where a destination does not take its SOP class. A table of its own, not a column of
``results``: the database of an older node gets it when it is opened; its objects have no stand-in until they are made
again."""

commitments = sa.Table(
    "commitments",
    metadata,
    sa.Column("peer", sa.String, primary_key=True),
    sa.Column("transaction_uid", sa.String, primary_key=True),
    sa.Column("referenced", sa.String, nullable=False),
    sa.Column("received_at", sa.Float, nullable=False),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("next_try_at", sa.Float),
    sa.Column("last_error", sa.String, nullable=False),
    sa.Column("reported_at", sa.Float),
    sa.Column("workflow_id", sa.String, nullable=False),
)
"""One row a request for storage commitment; transaction UIDs are the peers' own, so one may be used by two of them."""

engine_waits = sa.Table(
    "engine_waits",
    metadata,
    sa.Column("job_id", sa.String, primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
)
"""Jobs that wait for the place where models run, and since when; a row goes when the job ends or is started anew."""

history = sa.Table(
    "history",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_uid", sa.String, nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("event", sa.String, nullable=False),
    sa.Column("detail", sa.String, nullable=False),
)
"""What happened to a study, for people. Never holds patient identifiers."""


def open_database(path: Path) -> sa.Engine:
    """The writing engine of ``path``, with the tables made where they are missing. Raises ``StorageCorrupt``.

    WAL with ``synchronous=FULL``: a commit that returned survives a power cut. Every transaction begins
    IMMEDIATE, so that reading and then writing in one cannot fail on a stale snapshot.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # SQLAlchemy emits BEGIN itself, below
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    _require_layout(engine)
    metadata.create_all(engine)
    return engine


def _require_layout(engine: sa.Engine) -> None:
    """A file without tables gets the number of this layout; another number is refused, not guessed at."""
    with engine.begin() as connection:
        found = connection.exec_driver_sql("PRAGMA user_version").scalar()
        if not sa.inspect(connection).has_table(instances.name):
            connection.exec_driver_sql(f"PRAGMA user_version={LAYOUT}")
        elif found != LAYOUT:
            raise StorageCorrupt(
                f"{engine.url.database} was made by another version of the node (layout {found}, not {LAYOUT}): "
                "use the version that made it, or begin with another data_dir and have the studies sent again"
            )


def seconds(moment: datetime) -> float:
    """An aware moment as stored."""
    return moment.timestamp()


def moment(stored: float) -> datetime:
    """A stored moment, in UTC."""
    return datetime.fromtimestamp(stored, UTC)


def add_history(connection: sa.Connection, study_uid: str, at: datetime, event: str, detail: str = "") -> None:
    """One line of a study's history."""
    connection.execute(history.insert().values(study_uid=study_uid, at=seconds(at), event=event, detail=detail))


def last_history(connection: sa.Connection, study_uid: str) -> tuple[str, str] | None:
    """Event and detail of the last line of a study's history."""
    newest = history.select().where(history.c.study_uid == study_uid).order_by(history.c.id.desc()).limit(1)
    row = connection.execute(newest).first()
    return None if row is None else (row.event, row.detail)
