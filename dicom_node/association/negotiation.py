"""Which presentation contexts are accepted: a pure function (PS3.8 section 9.3.3.2, PS3.7 annex D)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from dicom_node.association.contexts import (
    ANALYSED_CLASSES,
    STORAGE_COMMITMENT,
    STORED_CLASSES,
    TRANSFER_SYNTAXES,
    UNCOMPRESSED,
    VERIFICATION,
)
from dicom_node.association.pdus import ContextAnswer, ProposedContext
from dicom_node.records import Right


class ContextResult(IntEnum):
    """Result of a presentation context (PS3.8 table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    """The peer has no right to this service."""
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What an abstract syntax is accepted for."""

    right: Right
    transfer_syntaxes: tuple[str, ...]
    """In order of preference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedContext:
    """A presentation context of an established association."""

    abstract_syntax: str
    transfer_syntax: str
    right: Right


_UNCOMPRESSED = tuple(str(uid) for uid in UNCOMPRESSED)
_ALL = tuple(str(uid) for uid in TRANSFER_SYNTAXES)
SERVICES: Final[Mapping[str, Service]] = MappingProxyType(
    {VERIFICATION: Service(right=Right.ECHO, transfer_syntaxes=_UNCOMPRESSED)}
    | {str(uid): Service(right=Right.STORE, transfer_syntaxes=_ALL) for uid in (*ANALYSED_CLASSES, *STORED_CLASSES)}
    | {STORAGE_COMMITMENT: Service(right=Right.COMMIT, transfer_syntaxes=_UNCOMPRESSED)}
)


def negotiate(
    proposed: Sequence[ProposedContext], *, offered: Collection[Right], rights: Collection[Right]
) -> tuple[tuple[ContextAnswer, ...], dict[int, AcceptedContext]]:
    """The answer to each context in the order proposed, and the accepted ones by their ID.

    ``offered``: the services that this node has; ``rights``: those that the peer may use.
    """
    answers, accepted = [], {}
    for context in proposed:
        service = SERVICES.get(context.abstract_syntax)
        if service is None or service.right not in offered:
            result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
        elif service.right not in rights:
            result = ContextResult.USER_REJECTION
        else:
            syntax = next((uid for uid in service.transfer_syntaxes if uid in context.transfer_syntaxes), None)
            if syntax is not None:
                answers.append(
                    ContextAnswer(
                        context_id=context.context_id, result=ContextResult.ACCEPTANCE, transfer_syntax=syntax
                    )
                )
                accepted[context.context_id] = AcceptedContext(
                    abstract_syntax=context.abstract_syntax, transfer_syntax=syntax, right=service.right
                )
                continue
            result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
        answers.append(ContextAnswer(context_id=context.context_id, result=result))
    return tuple(answers), accepted
