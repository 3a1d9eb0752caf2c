"""One DIMSE request from its command to the status of its response, its data set passing through (PS3.7 section 9).

An operation never raises for what a peer sends: what is wrong becomes its answer, and the rest of the data set is let
pass by unread, so that the association can go on.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from dicom_node.association.commands import Answer, Command
from dicom_node.association.intake import Incoming, Intake
from dicom_node.association.negotiation import AcceptedContext
from dicom_node.association.requests import CommitmentRequest, Offer
from dicom_node.errors import InstanceRefused, ResourceExhausted, StoreStatus
from dicom_node.records import InstanceFacts

log = structlog.get_logger(__name__)

MAXIMUM_ACTION_BYTES = 4 * 1024 * 1024
"""Of the action information of an N-ACTION: 30,000 instances to be committed."""
SUCCESS = Answer(status=0x0000)
NO_SUCH_OPERATION = Answer(status=0x0211, comment="no such operation in this presentation context")
"""PS3.7 annex C.5.21."""
MISTYPED_ARGUMENT = Answer(status=0x0212, comment="Message ID is missing, or no data set follows")
"""PS3.7 annex C.5.15."""
RESOURCE_LIMITATION = Answer(status=0x0213, comment="too many instances in one request")
"""PS3.7 annex C.5.19."""
FAULT = Answer(status=StoreStatus.PROCESSING_FAILURE, comment="internal fault; see the log of the node")


class Operation(Protocol):
    """A request that waits for its data set, if it has one, and then for its answer."""

    def take(self, pieces: Sequence[memoryview]) -> None:
        """Bytes of the data set; the views are void after the call."""
        ...

    def answer(self) -> Answer:
        """The data set is complete, or there is none."""
        ...

    def abandon(self) -> None:
        """The association ended before."""
        ...


class Settled:
    """An operation whose answer does not depend on its data set."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def take(self, pieces: Sequence[memoryview]) -> None:
        """Let it pass."""

    def answer(self) -> Answer:
        """See ``Operation``."""
        return self._answer

    def abandon(self) -> None:
        """Nothing to give back."""


class Store:
    """C-STORE (PS3.7 section 9.1.1).

    ``opened`` is told of an instance before it can be seen in the index, because a series is open for as long as its
    association is; ``accepted`` of it, of its size in bytes, and whether it is new here, when it is durable.
    """

    def __init__(
        self,
        offer: Offer,
        intake: Intake,
        *,
        opened: Callable[[InstanceFacts], None],
        accepted: Callable[[InstanceFacts, int, bool], None],
    ) -> None:
        self._opened = opened
        self._accepted = accepted
        self._incoming: Incoming | None = None
        self._refusal: Answer | None = None
        self._attempt(lambda: self._begin(offer, intake))

    def take(self, pieces: Sequence[memoryview]) -> None:
        """See ``Operation``."""
        incoming = self._incoming
        if incoming is not None:
            self._attempt(lambda: incoming.write(pieces))

    def answer(self) -> Answer:
        """Success only when the instance is durable."""
        incoming = self._incoming
        if incoming is not None:
            self._attempt(lambda: self._finish(incoming))
        return self._refusal or SUCCESS

    def abandon(self) -> None:
        """See ``Operation``."""
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None

    def _begin(self, offer: Offer, intake: Intake) -> None:
        self._incoming = intake.begin(offer)

    def _finish(self, incoming: Incoming) -> None:
        facts = incoming.check()
        self._opened(facts)
        new = incoming.commit()
        self._incoming = None
        self._accepted(facts, incoming.size_bytes, new)

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except InstanceRefused as refusal:
            self._refuse(Answer(status=refusal.status, comment=str(refusal)))
        except ResourceExhausted as error:
            self._refuse(Answer(status=StoreStatus.OUT_OF_RESOURCES, comment=str(error)))
        except Exception:
            log.exception("instance_failed")
            self._refuse(FAULT)

    def _refuse(self, answer: Answer) -> None:
        self._refusal = answer
        self.abandon()


class Commit:
    """N-ACTION of the Storage Commitment Push Model (PS3.4 section J.3.2)."""

    def __init__(
        self,
        command: Command,
        context: AcceptedContext,
        commitment: Callable[[CommitmentRequest], int],
        *,
        calling_ae: str,
        address: str,
    ) -> None:
        self._command = command
        self._context = context
        self._commitment = commitment
        self._calling_ae = calling_ae
        self._address = address
        self._encoded = bytearray()
        self._too_long = False

    def take(self, pieces: Sequence[memoryview]) -> None:
        """Keep it: action information is small, and whoever answers reads it whole."""
        for piece in pieces:
            if len(self._encoded) + len(piece) > MAXIMUM_ACTION_BYTES:
                self._too_long = True
            if not self._too_long:
                self._encoded += piece

    def answer(self) -> Answer:
        """What ``commitment`` says."""
        if self._too_long:
            return RESOURCE_LIMITATION
        request = CommitmentRequest(
            calling_ae=self._calling_ae,
            address=self._address,
            sop_instance_uid=self._command.instance_uid,
            action_type=self._command.action_type,
            transfer_syntax_uid=self._context.transfer_syntax,
            encoded=bytes(self._encoded),
        )
        try:
            return Answer(status=self._commitment(request))
        except Exception:
            log.exception("commitment_failed")
            return FAULT

    def abandon(self) -> None:
        """Nothing to give back."""
