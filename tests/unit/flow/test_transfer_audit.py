"""What the trail is told of a delivery, with a real index and work queue: what was meant to go, and what went."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.audit import AuditEvent
from dicom_node.delivery import Destination, SendOutcome
from dicom_node.delivery.status import Meaning
from dicom_node.errors import PeerUnavailable
from dicom_node.flow.deliver import Deliverer
from dicom_node.flow.durable import Durable
from dicom_node.flow.transfer_audit import TransferAudit
from dicom_node.index import JobTable
from dicom_node.records import ResultObject
from dicom_node.settings import DestinationSettings
from tests.unit.index import test_stand_ins as one_study

database = one_study.database
jobs = one_study.jobs
SETTINGS = DestinationSettings(name="pacs", ae_title="ARCHIVE", host="pacs.hospital", port=104)
BEGUN, TRANSFERRED = "Begin Transferring DICOM Instances", "DICOM Instances Transferred"


class Ending:
    """A destination that takes ``takes`` objects, and is then away or refuses the rest."""

    name = "pacs"

    def __init__(self, takes: int, *, away: bool) -> None:
        self._takes = takes
        self._away = away

    def send(self, objects: Sequence[ResultObject]) -> Iterator[SendOutcome]:
        for number, one in enumerate(objects):
            if number < self._takes:
                yield outcome(one, Meaning.ACCEPTED, "")
            elif self._away:
                raise PeerUnavailable("ARCHIVE shows a certificate that has expired")
            else:
                yield outcome(one, Meaning.REFUSED, "status 0124 (Refused: Not Authorised)")

    def echo(self) -> None:
        raise NotImplementedError


def outcome(one: ResultObject, meaning: Meaning, message: str) -> SendOutcome:
    return SendOutcome(sop_instance_uid=one.sop_instance_uid, meaning=meaning, status=None, message=message)


@pytest.fixture
def durable(database: sa.Engine, tmp_path: Path) -> Iterator[Durable]:
    running = Durable(tmp_path / "node.sqlite")
    running.launch(process=lambda _job: None, deliver=lambda _job, _name: None, report=lambda _peer, _uid: None)
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("takes", "away", "went"),
    [
        (4, False, [(0, 4, "")]),
        (0, True, [(4, 4, "ARCHIVE shows a certificate that has expired")]),
        (3, True, [(0, 3, ""), (4, 1, "ARCHIVE shows a certificate that has expired")]),
        (1, False, [(0, 1, ""), (4, 3, "status 0124 (Refused: Not Authorised)")]),
    ],
)
def test_success_and_failure_are_messages_of_their_own(
    jobs: JobTable, durable: Durable, takes: int, away: bool, went: list[tuple[int, int, str]]
) -> None:
    one_study.finish(jobs, pacs=tuple(one.kind for one in one_study.WRITTEN))
    told: list[AuditEvent] = []
    destination: Destination = Ending(takes, away=away)
    deliverer = Deliverer(
        jobs=jobs,
        durable=durable,
        destinations={"pacs": (SETTINGS, destination)},
        audit=TransferAudit(record=told.append, ae_title="DICOMNODE"),
    )
    deliverer.deliver(one_study.JOB, "pacs")
    assert told[0].id.meaning == BEGUN
    assert dict(told[0].instances) == {"1.2": 4}
    assert {one.id.meaning for one in told[1:]} == {TRANSFERRED}
    assert [(int(one.outcome), sum(one.instances.values()), one.description) for one in told[1:]] == went
    assert {one.study_uid for one in told} == {one_study.STUDY}
    assert {one.participants[1].address for one in told} == {"pacs.hospital"}
