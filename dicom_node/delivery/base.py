"""The verbs every destination has. One test suite (``tests/seams``) runs on every implementation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dicom_node.delivery.status import Meaning
from dicom_node.records import ResultObject


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOutcome:
    """How sending one object ended."""

    sop_instance_uid: str
    meaning: Meaning
    status: int | None
    """DIMSE status; ``None`` where there was no answer."""
    message: str

    @property
    def accepted(self) -> bool:
        """The destination has it (success or a warning)."""
        return self.meaning is Meaning.ACCEPTED


class Destination(Protocol):
    """Somewhere results go."""

    @property
    def name(self) -> str:
        """As the settings name it."""
        ...

    def send(self, objects: Sequence[ResultObject]) -> Iterator[SendOutcome]:
        """Send in order; yields an outcome as soon as it is known, so that it can be recorded before the next.

        Raises ``PeerUnavailable`` where the destination does not answer; objects without an outcome were not taken.
        Where it answers, and ends the association over one object, the others are sent in another.
        """
        ...

    def echo(self) -> None:
        """Ask whether it is there. Raises ``PeerUnavailable``."""
        ...
