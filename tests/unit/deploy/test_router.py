"""The plugin's loop against Orthanc's REST API in memory, which can die between any two calls."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from node_routing.archive import Archive, ArchiveFailure, NotThere
from node_routing.router import MAXIMUM_TRANSFERS, Router
from node_routing.settings import SENT, STATE, RoutingSettings

from dicom_node.results import codes

SETTINGS = RoutingSettings(
    modality="node", manufacturer="dicom-node", stable_age_s=60, poll_s=5, retry_first_s=5, retry_longest_s=600
)
CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.33"


class Died(Exception):
    """The process was killed in this call."""


class MemoryOrthanc:
    """What the plugin uses of it; series are named ``study/series``, instances ``study/series/number``.

    A job is done at once. What was written stays when a call has died after it; ``dies_at`` counts the calls.
    """

    def __init__(self) -> None:
        self.instances: dict[str, tuple[str, str, dict[str, Any]]] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.changes: list[dict[str, Any]] = []
        self.unstable: set[str] = set()
        self.jobs: dict[str, str] = {}
        self.sent: list[str] = []
        self.node_is_up = True
        self.refuses = False
        self.keeps_jobs_running = False
        self.property = ""
        self.calls = 0
        self.dies_at: int | None = None

    def add(self, series: str, number: int, sop_class: str = CT, maker: str = "ACME", **content: Any) -> None:
        name = f"{series}/{number}"
        self.instances[name] = (sop_class, maker, content)
        self.changes.append({"Seq": len(self.changes) + 1, "ChangeType": "NewInstance", "ID": name})

    def get(self, path: str) -> bytes:
        self._call()
        return json.dumps(self._answer(path)).encode() if not path.endswith("/SopClassUid") else self._sop_class(path)

    def post(self, path: str, body: str) -> bytes:
        self._call()
        if path == "/modalities/node/echo":
            if not self.node_is_up:
                raise ArchiveFailure("network")
            return b"{}"
        assert path == "/modalities/node/store"
        request = json.loads(body)
        assert (request["Synchronous"], request["Permissive"]) == (False, False)
        job = f"job{len(self.jobs)}"
        self.jobs[job] = "Failure" if self.refuses else "Running" if self.keeps_jobs_running else "Success"
        if not self.refuses:
            self.sent += request["Resources"]
        self._die_afterwards()
        return json.dumps({"ID": job}).encode()

    def put(self, path: str, body: str) -> None:
        self._call()
        resource, name = path.split("/", 2)[2].split("/metadata/")
        self._existing(resource)
        self.metadata.setdefault(resource, {})[name] = body
        self.changes.append({"Seq": len(self.changes) + 1, "ChangeType": "UpdatedMetadata", "ID": resource})
        self._die_afterwards()

    def read_property(self) -> str:
        self._call()
        return self.property

    def write_property(self, value: str) -> None:
        self._call()
        self.property = value
        self._die_afterwards()

    def _call(self) -> None:
        self.calls += 1
        if self.dies_at == 2 * self.calls:
            raise Died

    def _die_afterwards(self) -> None:
        if self.dies_at == 2 * self.calls + 1:
            raise Died

    def _answer(self, path: str) -> Any:
        if path.startswith("/changes"):
            return self._changes(path)
        _, level, rest = path.split("/", 2)
        if level == "jobs":
            if rest not in self.jobs:
                raise NotThere(path)
            return {"State": self.jobs[rest], "ErrorDescription": "Refused"}
        if rest.endswith("/metadata?expand"):
            return self.metadata.get(rest.removesuffix("/metadata?expand"), {})
        if rest.endswith("/simplified-tags"):
            return self.instances[rest.removesuffix("/simplified-tags")][2]
        if level == "studies":
            return self._study(rest)
        self._existing(rest)
        study, series = rest.split("/")[0], rest.rsplit("/", 1)[0]
        return {"ParentStudy": study, "ParentSeries": series}

    def _changes(self, path: str) -> Any:
        if path.endswith("?last"):
            return {"Last": len(self.changes)}
        since = int(path.split("since=")[1].split("&")[0])
        return {"Changes": self.changes[since:], "Done": True}

    def _study(self, rest: str) -> Any:
        study, _, part = rest.partition("/")
        names = self._existing(study)
        if part == "instances":
            return [{"ID": name, "MainDicomTags": {"SOPInstanceUID": f"uid-{name}"}} for name in names]
        if part == "series":
            return [self._series(series, names) for series in sorted({name.rsplit("/", 1)[0] for name in names})]
        return {"IsStable": study not in self.unstable}

    def _series(self, series: str, names: list[str]) -> Any:
        own = [name for name in names if name.startswith(f"{series}/")]
        sop_class, maker, _ = self.instances[own[0]]
        tags = {"Modality": "CT" if sop_class == CT else "SR", "Manufacturer": maker}
        return {"ID": series, "MainDicomTags": tags, "Instances": own}

    def _sop_class(self, path: str) -> bytes:
        return self.instances[path.removeprefix("/instances/").removesuffix("/metadata/SopClassUid")][0].encode()

    def _existing(self, resource: str) -> list[str]:
        names = [name for name in self.instances if name == resource or name.startswith(f"{resource}/")]
        if not names:
            raise NotThere(resource)
        return names

    def state(self, study: str) -> str:
        return self.metadata.get(study, {}).get(STATE, "")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def orthanc() -> MemoryOrthanc:
    return MemoryOrthanc()


@pytest.fixture
def clock() -> Iterator[Clock]:
    return Clock()


def started(orthanc: MemoryOrthanc, clock: Clock) -> Router:
    archive = Archive(orthanc, modality="node", manufacturer="dicom-node")
    return Router(archive, SETTINGS, lambda event, **values: None, clock)


def up(orthanc: MemoryOrthanc, clock: Clock) -> Router:
    """A router that has been up for as long as a study needs to be stable."""
    router = started(orthanc, clock)
    clock.now_s += SETTINGS.stable_age_s
    return router


def steps(router: Router, count: int = 4) -> None:
    for _ in range(count):
        router.step()


def test_study_is_sent_once_marked_and_answered(orthanc: MemoryOrthanc, clock: Clock) -> None:
    router = up(orthanc, clock)
    orthanc.add("study/ct", 0)
    orthanc.add("study/ct", 1)
    steps(router)
    assert orthanc.sent == ["study/ct/0", "study/ct/1"]
    assert orthanc.state("study") == "sent"
    orthanc.add("study/report", 0, SR, "dicom-node", **report_on("study/ct/0", "study/ct/1"))
    steps(router)
    assert orthanc.state("study") == "answered: positive"
    assert orthanc.sent == ["study/ct/0", "study/ct/1"]
    assert json.loads(orthanc.property)["open"] == {}


def report_on(*instances: str) -> dict[str, Any]:
    references = [{"ReferencedSOPInstanceUID": f"uid-{instance}"} for instance in instances]
    assessment = {
        "ConceptNameCodeSequence": [{"CodeValue": codes.OVERALL_ASSESSMENT.value}],
        "ConceptCodeSequence": [{"CodeValue": codes.POSITIVE.value}],
    }
    return {
        "ContentSequence": [assessment],
        "CurrentRequestedProcedureEvidenceSequence": [
            {"ReferencedSeriesSequence": [{"ReferencedSOPSequence": references}]}
        ],
    }


def test_first_start_leaves_the_archive_alone(orthanc: MemoryOrthanc, clock: Clock) -> None:
    orthanc.add("old/ct", 0)
    router = up(orthanc, clock)
    orthanc.add("new/ct", 0)
    steps(router)
    assert orthanc.sent == ["new/ct/0"]
    assert orthanc.state("old") == ""


def test_unstable_study_waits(orthanc: MemoryOrthanc, clock: Clock) -> None:
    router = up(orthanc, clock)
    orthanc.unstable.add("study")
    orthanc.add("study/ct", 0)
    steps(router)
    assert orthanc.sent == []
    orthanc.unstable.clear()
    steps(router)
    assert orthanc.sent == ["study/ct/0"]


def test_after_a_start_senders_get_time_to_come_back(orthanc: MemoryOrthanc, clock: Clock) -> None:
    started(orthanc, clock)
    orthanc.add("study/ct", 0)
    router = started(orthanc, clock)
    steps(router)
    assert orthanc.sent == []
    clock.now_s += SETTINGS.stable_age_s
    steps(router)
    assert orthanc.sent == ["study/ct/0"]


def test_node_that_is_away_is_asked_again_after_a_pause(orthanc: MemoryOrthanc, clock: Clock) -> None:
    orthanc.node_is_up = False
    router = up(orthanc, clock)
    orthanc.add("study/ct", 0)
    steps(router)
    assert orthanc.state("study") == "queued: the node does not answer"
    orthanc.node_is_up = True
    steps(router)
    assert orthanc.sent == []
    clock.now_s += SETTINGS.retry_first_s
    steps(router)
    assert orthanc.sent == ["study/ct/0"]


def test_refused_transfer_is_shown_and_tried_again(orthanc: MemoryOrthanc, clock: Clock) -> None:
    orthanc.refuses = True
    router = up(orthanc, clock)
    orthanc.add("study/ct", 0)
    steps(router)
    assert orthanc.state("study") == "failed: Refused; will be tried again"
    assert len(orthanc.jobs) == 1
    orthanc.refuses = False
    clock.now_s += SETTINGS.retry_first_s
    steps(router)
    assert orthanc.state("study") == "sent"


def test_no_more_transfers_at_once_than_orthanc_remembers(orthanc: MemoryOrthanc, clock: Clock) -> None:
    orthanc.keeps_jobs_running = True
    router = up(orthanc, clock)
    for number in range(MAXIMUM_TRANSFERS + 1):
        orthanc.add(f"study{number}/ct", 0)
    steps(router)
    assert len(orthanc.jobs) == MAXIMUM_TRANSFERS
    assert [orthanc.state(f"study{number}") for number in range(MAXIMUM_TRANSFERS + 1)][-1] == "queued"
    orthanc.jobs = dict.fromkeys(orthanc.jobs, "Success")
    steps(router)
    assert len(orthanc.jobs) == MAXIMUM_TRANSFERS + 1


def test_study_deleted_during_its_transfer_is_forgotten(orthanc: MemoryOrthanc, clock: Clock) -> None:
    orthanc.keeps_jobs_running = True
    router = up(orthanc, clock)
    orthanc.add("study/ct", 0)
    steps(router)
    orthanc.instances.clear()
    orthanc.jobs = dict.fromkeys(orthanc.jobs, "Success")
    steps(router)
    assert json.loads(orthanc.property)["open"] == {}


def test_study_is_neither_lost_nor_sent_again_wherever_the_process_dies(clock: Clock) -> None:
    sent_again = []
    for dies_at in range(2, 200):
        orthanc = MemoryOrthanc()
        started(orthanc, clock)  # the very first start is over
        orthanc.add("study/ct", 0)
        orthanc.calls, orthanc.dies_at = 0, dies_at
        try:
            steps(up(orthanc, clock))
        except Died:
            orthanc.dies_at = None
            steps(up(orthanc, clock))
        else:
            if dies_at > 2 * orthanc.calls + 1:
                break
        assert orthanc.state("study") == "sent"
        assert SENT in orthanc.metadata["study/ct"]
        assert json.loads(orthanc.property)["open"] == {}
        if len(orthanc.sent) != 1:
            sent_again.append((dies_at, len(orthanc.sent)))
    else:
        raise AssertionError("the test has not tried every call")
    # The one moment between the start of Orthanc's job and its note in the ledger: the node takes repeats once.
    assert [count for _, count in sent_again] == [2] * len(sent_again)
    assert len(sent_again) <= 2
