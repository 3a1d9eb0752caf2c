"""From an offered instance to a durable one, or to the status that says why not.

``begin`` looks at what the command says, ``Incoming.write`` takes the data set in pieces straight to the spool,
``check`` scans what has arrived, ``commit`` returns when it is durable. The row follows in a batch (``ledger``). The
statuses are those of ``StoreStatus``.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from dicom_node.association.claims import Claims
from dicom_node.association.ledger import InstanceIndex, Ledger
from dicom_node.association.requests import Offer, ReceivedInstance
from dicom_node.errors import InstanceRefused, StoreStatus
from dicom_node.headers import facts_from_data_set, facts_from_start, is_valid_uid
from dicom_node.index import Arrival
from dicom_node.records import InstanceFacts, Stored, StoredInstance
from dicom_node.spool import Spool, SpoolWriter

log = structlog.get_logger(__name__)


class Intake:
    """Makes instances durable. Called from the thread of every association, and from other doors."""

    def __init__(self, spool: Spool, index: InstanceIndex) -> None:
        self._spool = spool
        self._ledger = Ledger(index)
        self._claims = Claims(self._ledger.held)

    def __call__(self, received: ReceivedInstance) -> InstanceFacts:
        """Take an instance whose data set is in memory. Returns when it is durable.

        Raises ``InstanceRefused`` and ``ResourceExhausted``.
        """
        incoming = self.begin(received)
        try:
            incoming.write([memoryview(received.encoded)])
            facts = incoming.check()
            incoming.commit()
        finally:
            incoming.discard()
        return facts

    def begin(self, offer: Offer) -> "Incoming":
        """Begin to take an instance. Raises ``InstanceRefused`` and ``ResourceExhausted``."""
        if not is_valid_uid(offer.sop_instance_uid):
            raise InstanceRefused(StoreStatus.INVALID_SOP_INSTANCE, "Affected SOP Instance UID is missing or not valid")
        if offer.sop_class_uid != offer.context_sop_class_uid:
            raise InstanceRefused(StoreStatus.MISMATCH, "SOP class is not that of the presentation context")
        self._ledger.require_room()
        writer = self._spool.begin(
            sop_instance_uid=offer.sop_instance_uid,
            sop_class_uid=offer.sop_class_uid,
            transfer_syntax_uid=offer.transfer_syntax_uid,
        )
        return Incoming(offer, writer, claims=self._claims, ledger=self._ledger)

    def flush(self) -> None:
        """Return when the index shows everything that was accepted before the call. Raises ``ResourceExhausted``."""
        self._ledger.flush()

    def close(self) -> None:
        """Bring the index up to date and end; nothing may be taken afterwards."""
        self._ledger.close()
        self._spool.close()


class Incoming:
    """One instance that is arriving. Ends with ``commit`` or ``discard``; used by one thread."""

    def __init__(self, offer: Offer, writer: SpoolWriter, *, claims: Claims, ledger: Ledger) -> None:
        self._offer = offer
        self._writer = writer
        self._claims = claims
        self._ledger = ledger
        self._facts: InstanceFacts | None = None

    @property
    def size_bytes(self) -> int:
        """How much of the data set has arrived."""
        return self._writer.size_bytes

    def write(self, pieces: Sequence[memoryview]) -> None:
        """Take a part of the data set; the views are void after the call. Raises ``ResourceExhausted``."""
        self._writer.write(pieces)

    def check(self) -> InstanceFacts:
        """Scan the whole data set. Raises ``InstanceRefused``."""
        syntax = self._offer.transfer_syntax_uid
        facts = facts_from_start(self._writer.first_bytes, self._writer.size_bytes, syntax)
        if facts is None:
            with self._writer.mapped() as (mapped, start):
                facts = facts_from_data_set(mapped, syntax, start=start)
        if facts.sop_class_uid != self._offer.sop_class_uid:
            raise InstanceRefused(StoreStatus.MISMATCH, "SOP class of data set and command differ")
        if facts.sop_instance_uid != self._offer.sop_instance_uid:
            raise InstanceRefused(StoreStatus.MISMATCH, "SOP instance of data set and command differ")
        self._facts = facts
        return facts

    def commit(self) -> bool:
        """Make what was checked durable; true where it is new. Raises ``InstanceRefused`` and ``ResourceExhausted``.

        Where its UID is held already, the same content is durable already, and other content is refused; where what is
        held is damaged by now, the same content takes its place, as new.
        """
        assert self._facts is not None, "check first"  # noqa: S101 - a mistake in this package
        with self._claims.sole(self._offer.sop_instance_uid) as held:
            if held is not None and self._repeats(held):
                self._writer.discard()
                return False
            received_at, calling_ae, facts = datetime.now(UTC), self._offer.calling_ae, self._facts

            def note(stored: Stored) -> None:
                instance = StoredInstance(
                    facts=facts, file=stored.file, digest=stored.digest, size_bytes=stored.size_bytes
                )
                self._ledger.note(Arrival(instance=instance, received_at=received_at, calling_ae=calling_ae))

            self._writer.publish(received_at=received_at, calling_ae=calling_ae, listed=note)
            return True

    def discard(self) -> None:
        """Leave nothing behind; after ``commit`` nothing happens."""
        self._writer.discard()

    def _repeats(self, held: Stored) -> bool:
        """Whether exactly this is held, intact. Raises ``InstanceRefused`` where it is something else."""
        if held.digest != self._writer.digest:
            raise InstanceRefused(StoreStatus.OTHER_CONTENT, "this SOP Instance UID holds other content")
        try:
            if self._writer.holds_same(held):
                return True
        except OSError:
            pass  # gone, or not readable: the same as damaged
        log.error("record_replaced", sop_instance_uid=self._offer.sop_instance_uid, file=held.file.path.name)
        return False
