"""The messages of an established association: fragments in, responses out (PS3.7 sections 6.3, 8.1; PS3.8 annex E).

One operation at a time, as negotiated; requests that a peer sends ahead wait where they are, in the network. What
cannot be answered (a fragment in the wrong place or context, a command set that is none) is a ``ProtocolFault``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from dicom_node.association.commands import RESPONSE, Command, CommandField, decode_command, encode_response
from dicom_node.association.intake import Intake
from dicom_node.association.negotiation import AcceptedContext
from dicom_node.association.operations import (
    MISTYPED_ARGUMENT,
    NO_SUCH_OPERATION,
    SUCCESS,
    Commit,
    Operation,
    Settled,
    Store,
)
from dicom_node.association.requests import Brought, CommitmentRequest, Offer
from dicom_node.association.transfer import MAXIMUM_COMMAND_BYTES
from dicom_node.association.upper_layer import AbortReason, ProtocolFault
from dicom_node.records import InstanceFacts, Right

log = structlog.get_logger(__name__)


REFUSALS_LOGGED = 100
"""Of one association; "association_ended" counts all of them. A peer must not be able to fill the disk with our log."""


@dataclass(slots=True)
class Traffic:
    """What one association has brought. Changed by its own thread only."""

    series: set[str] = field(default_factory=set)
    """Of what was accepted; each has cost the sender a page of our disk, at least."""
    opening: str | None = None
    """The series of the instance under way, from before its row can be seen until it is answered."""
    studies: dict[str, Brought] = field(default_factory=dict)
    """Since ``take_studies``."""
    accepted: int = 0
    refused: int = 0
    size_bytes: int = 0

    def open_series(self) -> frozenset[str]:
        """Series that instances were accepted of, or may be in this moment. Asked by other threads, too."""
        opening = self.opening  # before the set, which it moves to
        series = frozenset(tuple(self.series))
        return series if opening is None else series | {opening}

    def take_studies(self) -> dict[str, Brought]:
        """What was brought since the last call, to be told of."""
        taken, self.studies = self.studies, {}
        return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What answers requests."""

    intake: Intake
    commitment: Callable[[CommitmentRequest], int] | None


class Dialogue:
    """Implements ``transfer.FragmentReceiver``. ``send`` puts a command set on the wire, in a context."""

    def __init__(
        self,
        contexts: Mapping[int, AcceptedContext],
        services: Services,
        *,
        peer: Mapping[str, str],
        send: Callable[[int, bytes], None],
    ) -> None:
        self.traffic = Traffic()
        self._contexts = contexts
        self._services = services
        self._peer = peer
        self._send = send
        self._context_id: int | None = None
        self._fragments = bytearray()
        self._command: Command | None = None
        self._operation: Operation | None = None

    @property
    def within_message(self) -> bool:
        """Whether the peer has begun a message and not ended it."""
        return self._context_id is not None

    def close(self) -> None:
        """The association ended: what was half received is thrown away."""
        if self._operation is not None:
            self._operation.abandon()
            self._operation = None
        self.traffic.opening = None

    def command_fragment(self, context_id: int, fragment: bytes, *, last: bool) -> None:
        """See ``FragmentReceiver``."""
        if self._operation is not None:
            raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a command set begins inside a data set")
        self._enter(context_id)
        self._fragments += fragment
        if len(self._fragments) > MAXIMUM_COMMAND_BYTES:
            raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a command set is too long")
        if last:
            command = decode_command(bytes(self._fragments))
            self._fragments.clear()
            self._begin(command, self._contexts[context_id])

    def data_fragment(self, context_id: int) -> None:
        """See ``FragmentReceiver``."""
        if self._operation is None:
            raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a data set without a command")
        self._enter(context_id)

    def data(self, pieces: Sequence[memoryview]) -> None:
        """See ``FragmentReceiver``."""
        if self._operation is not None:
            self._operation.take(pieces)

    def data_set_complete(self) -> None:
        """See ``FragmentReceiver``."""
        self._answer()

    def _enter(self, context_id: int) -> None:
        if context_id not in self._contexts:
            raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a presentation context that was not accepted")
        if self._context_id not in (None, context_id):
            raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a message changes its presentation context")
        self._context_id = context_id

    def _begin(self, command: Command, context: AcceptedContext) -> None:
        if command.field & RESPONSE:
            raise ProtocolFault(AbortReason.NOT_SPECIFIED, "a response to nothing")
        self._command = command
        self._operation = self._operation_for(command, context)
        if not command.has_data_set:
            self._answer()

    def _operation_for(self, command: Command, context: AcceptedContext) -> Operation:
        needs_data_set = command.field in (CommandField.C_STORE_RQ, CommandField.N_ACTION_RQ)
        if command.field == CommandField.C_CANCEL_RQ:
            return Settled(SUCCESS)  # has no response: nothing that could be cancelled is ever under way
        if command.message_id is None or (needs_data_set and not command.has_data_set):
            return Settled(MISTYPED_ARGUMENT)
        match CommandField(command.field) if command.field in _KNOWN else None, context.right:
            case CommandField.C_ECHO_RQ, Right.ECHO:
                return Settled(SUCCESS)
            case CommandField.C_STORE_RQ, Right.STORE:
                offer = Offer(
                    calling_ae=self._peer["calling_ae"],
                    sop_class_uid=command.class_uid,
                    sop_instance_uid=command.instance_uid,
                    context_sop_class_uid=context.abstract_syntax,
                    transfer_syntax_uid=context.transfer_syntax,
                )
                return Store(offer, self._services.intake, opened=self._note_series, accepted=self._note)
            case CommandField.N_ACTION_RQ, Right.COMMIT if self._services.commitment is not None:
                return Commit(command, context, self._services.commitment, **self._peer)
            case _:
                return Settled(NO_SUCH_OPERATION)

    def _answer(self) -> None:
        command, operation, context_id = self._command, self._operation, self._context_id
        self._command = self._operation = self._context_id = None
        if command is None or operation is None or context_id is None:
            raise ProtocolFault(AbortReason.INVALID_PARAMETER, "a data set without a command")
        answer = operation.answer()
        self.traffic.opening = None
        if command.field == CommandField.C_CANCEL_RQ:
            return
        if command.field == CommandField.C_STORE_RQ:
            if answer.status == SUCCESS.status:
                self.traffic.accepted += 1
            else:
                self.traffic.refused += 1
                if self.traffic.refused <= REFUSALS_LOGGED:
                    log.warning("instance_refused", **self._peer, status=f"{answer.status:04X}", reason=answer.comment)
        self._send(context_id, encode_response(command, answer))

    def _note_series(self, facts: InstanceFacts) -> None:
        self.traffic.opening = facts.series_uid

    def _note(self, facts: InstanceFacts, size_bytes: int, new: bool) -> None:
        self.traffic.series.add(facts.series_uid)
        self.traffic.studies.setdefault(facts.study_uid, Brought()).note(facts.sop_class_uid, new=new)
        self.traffic.size_bytes += size_bytes


_KNOWN = frozenset(CommandField)
