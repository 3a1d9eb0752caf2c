"""Who may make which instance durable: one thread at a time for a UID, and told what is held of it already.

Two associations may bring the same instance at the same moment, a sender its own once more. What is durable is found
among the rows that wait to be committed, and in the index.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from dicom_node.errors import StorageCorrupt
from dicom_node.records import Stored

log = structlog.get_logger(__name__)


class Claims:
    """``held`` answers for what is durable; it is asked while nobody else can change the answer."""

    def __init__(self, held: Callable[[str], Stored | None]) -> None:
        self._held = held
        self._claimed: set[str] = set()
        self._released = threading.Condition()

    @contextmanager
    def sole(self, sop_instance_uid: str) -> Iterator[Stored | None]:
        """While the block runs nobody else is in one for that UID. Yields what is held of it."""
        with self._released:
            while sop_instance_uid in self._claimed:
                self._released.wait()
            self._claimed.add(sop_instance_uid)
        try:
            yield self._known(sop_instance_uid)
        finally:
            with self._released:
                self._claimed.discard(sop_instance_uid)
                self._released.notify_all()

    def _known(self, sop_instance_uid: str) -> Stored | None:
        """A sick index does not stop instances from being kept: the ledger finds out later what it holds of them."""
        try:
            return self._held(sop_instance_uid)
        except StorageCorrupt as error:
            log.error("index_not_asked", sop_instance_uid=sop_instance_uid, reason=str(error))
            return None
