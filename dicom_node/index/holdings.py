"""One question, asked for every instance that arrives: is its UID taken, and where does the one that has it lie?

By the driver itself on a connection of its own: the answer takes 10 µs, where a statement by way of SQLAlchemy takes
a hundred, and a transaction that can write would wait for every other one.
"""

import sqlite3
import threading
from pathlib import Path

import sqlalchemy as sa

from dicom_node.errors import StorageCorrupt
from dicom_node.records import Part10File, Stored

_QUERY = "SELECT path, start, file_bytes, digest, size_bytes FROM instances WHERE sop_instance_uid = ?"


class Holdings:
    """Reads what was committed, whoever did. Safe to use from several threads."""

    def __init__(self, engine: sa.Engine) -> None:
        address = f"{Path(str(engine.url.database)).resolve().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()

    def find(self, sop_instance_uid: str) -> Stored | None:
        """Where the durable instance of that UID lies. Raises ``StorageCorrupt`` where the index cannot be read."""
        try:
            with self._lock:
                row = self._connection.execute(_QUERY, (sop_instance_uid,)).fetchone()
        except sqlite3.Error as error:
            raise StorageCorrupt(f"the index cannot be read ({type(error).__name__})") from error
        if row is None:
            return None
        path, start, file_bytes, digest, size_bytes = row
        return Stored(file=Part10File(Path(path), start, file_bytes), digest=digest, size_bytes=size_bytes)
