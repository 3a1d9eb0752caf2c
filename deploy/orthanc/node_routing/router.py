"""The loop: what has arrived is opened, what is complete is sent, what is sent is marked, until nothing is open.

Owns the order of durable steps. A study is opened in the same write that moves the position in Orthanc's log of
changes, and closed only when its marks say that everything has arrived; so a crash anywhere loses no study. A crash
in the moment between the start of a job and its note in the ledger sends the study twice: the node knows the
instances and does no new work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from node_routing.archive import Archive, ArchiveFailure, NotThere
from node_routing.ledger import Ledger, Transfer
from node_routing.patience import Patience
from node_routing.settings import RoutingSettings
from node_routing.study import NODE_AWAY, QUEUED, SENDING, Shipment, Study, is_complete, settled_state, unsent

Log = Callable[..., None]
"""``log(event, **values)``."""
MAXIMUM_TRANSFERS: Final = 2
"""At once. Orthanc runs two jobs at a time by default, and remembers only the last ten ("JobsHistorySize")."""
_NODE: Final = "the node"
"""Key of the pause while the node does not answer; the others are studies."""


class Router:
    """``step`` does all that can be done now. For one thread; ``clock`` is monotonic, in seconds."""

    def __init__(
        self, archive: Archive, settings: RoutingSettings, log: Log, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._archive = archive
        self._settings = settings
        self._log = log
        self._clock = clock
        self._started_s = clock()
        self._patience = Patience(first_s=settings.retry_first_s, longest_s=settings.retry_longest_s)
        self._waiting: set[str] = set()
        """Studies that are marked as waiting for the node; they need no second look before its pause is over."""
        self._ledger: Ledger = archive.read_ledger()
        archive.write_ledger(self._ledger)

    def step(self) -> None:
        """Read what has arrived, then look at every open study whose pause is over. Raises ``ArchiveFailure``."""
        self._open_what_arrived()
        for study in sorted(self._ledger.open):
            if not self._may_be_looked_at(study):
                continue
            try:
                self._look_at(study)
            except NotThere as gone:
                self._give_back(study, gone)
            except ArchiveFailure as failure:
                self._put_off(study, "study_put_off", str(failure))

    @property
    def is_sending(self) -> bool:
        """Whether a transfer is under way, which ends soon."""
        return self._transfers() > 0

    def _transfers(self) -> int:
        return sum(transfer is not None for transfer in self._ledger.open.values())

    def _may_be_looked_at(self, study: str) -> bool:
        now_s = self._clock()
        node_in_pause = study in self._waiting and not self._patience.is_over(_NODE, now_s)
        return self._patience.is_over(study, now_s) and not node_in_pause

    def _open_what_arrived(self) -> None:
        position, studies = self._archive.changes_since(self._ledger.position)
        if position != self._ledger.position:
            self._ledger.position = position
            for study in studies:
                self._ledger.open.setdefault(study, None)
            self._archive.write_ledger(self._ledger)

    def _look_at(self, identifier: str) -> None:
        transfer = self._ledger.open[identifier]
        if transfer is not None and not self._has_ended(identifier, transfer):
            return
        stable, up_s = self._archive.is_stable(identifier), self._clock() - self._started_s
        if not is_complete(stable=stable, up_s=up_s, stable_age_s=self._settings.stable_age_s):
            return
        study = self._archive.study(identifier)
        shipment = unsent(study, node_manufacturer=self._settings.manufacturer)
        if shipment is None:
            self._settle(study)
        elif not self._node_answers():
            self._waiting.add(identifier)
            self._show(study, NODE_AWAY)
        elif self._transfers() >= MAXIMUM_TRANSFERS:
            self._show(study, QUEUED)
        else:
            self._send(study, shipment)

    def _send(self, study: Study, shipment: Shipment) -> None:
        job = self._archive.send(shipment)
        self._keep(study.identifier, Transfer(job=job, instances=len(shipment.instances), digests=shipment.digests))
        self._show(study, SENDING)
        self._log("study_sending", study=study.identifier, instances=len(shipment.instances), job=job)

    def _has_ended(self, study: str, transfer: Transfer) -> bool:
        """Whether all of a transfer has arrived; if so it is noted. A failed one is put off."""
        failure = self._archive.failure_of(transfer.job)
        if failure is None:
            return False
        if failure:
            self._keep(study, None)
            self._archive.note_state(study, f"failed: {failure}; will be tried again")
            self._put_off(study, "study_not_sent", failure)
            return False
        for series, digest in transfer.digests.items():
            with suppress(NotThere):  # deleted meanwhile: nothing to mark
                self._archive.note_sent(series, digest)
        self._keep(study, None)
        self._patience.forget(study)
        self._log("study_sent", study=study, instances=transfer.instances)
        return True

    def _settle(self, study: Study) -> None:
        reports = self._archive.reports(study)
        state = settled_state(study, reports, node_manufacturer=self._settings.manufacturer)
        if state:
            self._show(study, state)
        self._close(study.identifier)

    def _show(self, study: Study, state: str) -> None:
        if study.state != state:
            self._archive.note_state(study.identifier, state)
            self._log("study_state", study=study.identifier, state=state)

    def _node_answers(self) -> bool:
        if not self._patience.is_over(_NODE, self._clock()):
            return False
        if self._archive.node_answers():
            self._patience.forget(_NODE)
            self._waiting.clear()
            return True
        pause_s = self._patience.failed(_NODE, self._clock())
        self._log("node_does_not_answer", modality=self._settings.modality, pause_s=pause_s)
        return False

    def _put_off(self, study: str, event: str, reason: str) -> None:
        pause_s = self._patience.failed(study, self._clock())
        self._log(event, study=study, reason=reason, pause_s=pause_s)

    def _give_back(self, study: str, gone: NotThere) -> None:
        """Close a study that was deleted; put off one of which only a part was, or whose modality is unknown."""
        try:
            self._archive.study(study)
        except NotThere:
            self._close(study)
        else:
            self._put_off(study, "study_put_off", str(gone))

    def _keep(self, study: str, transfer: Transfer | None) -> None:
        self._ledger.open[study] = transfer
        self._archive.write_ledger(self._ledger)

    def _close(self, study: str) -> None:
        del self._ledger.open[study]
        self._waiting.discard(study)
        self._patience.forget(study)
        self._archive.write_ledger(self._ledger)
