"""What has to survive a restart: how far Orthanc's log of changes is read, and the studies that are not settled yet.

Both in one value, so that a study cannot fall between them: the position moves on in the same write that opens the
studies named before it. Owns the encoding (JSON); whoever keeps it writes it durably.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A job of Orthanc that sends, and the digests to note for its series when it has succeeded."""

    job: str
    instances: int
    digests: Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class Ledger:
    """``position`` is the number of the last change read; ``open`` the unsettled studies with what is under way."""

    position: int
    open: dict[str, Transfer | None] = field(default_factory=dict)

    def encoded(self) -> str:
        """As text; ``decoded`` reads it."""
        studies = {
            study: None
            if transfer is None
            else {"job": transfer.job, "instances": transfer.instances, "digests": dict(transfer.digests)}
            for study, transfer in self.open.items()
        }
        return json.dumps({"position": self.position, "open": studies}, sort_keys=True)

    @classmethod
    def decoded(cls, text: str) -> Ledger:
        """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for what ``encoded`` has not written."""
        document = json.loads(text)
        studies = {study: None if value is None else Transfer(**value) for study, value in document["open"].items()}
        return cls(position=int(document["position"]), open=studies)
