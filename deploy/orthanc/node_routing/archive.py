"""Orthanc's REST API, as far as routing needs it.

Owns every path and every field name of it (https://orthanc.uclouvain.be/api/), and turns answers into values. Asks
for identifiers, SOP classes, maker and modality; the only document that it opens is the node's own report.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, Protocol

from node_routing.ledger import Ledger
from node_routing.reports import read_report
from node_routing.settings import SENT, STATE
from node_routing.study import Image, Report, Series, Shipment, Study

ECHO_TIMEOUT_S: Final = 3
"""Short: the plugin holds Python's lock meanwhile, so that no other Python code of this Orthanc runs."""
CHANGES_AT_ONCE: Final = 500
REPORT: Final = "SR"
_LEVELS_OF_ARRIVAL: Final = {"NewInstance": "instances", "NewSeries": "series"}


class ArchiveFailure(Exception):
    """Orthanc could not do it now."""


class NotThere(ArchiveFailure):
    """Orthanc has no such thing (any more)."""


class Orthanc(Protocol):
    """The plugin's API. ``get``, ``post`` and ``put`` raise ``ArchiveFailure``."""

    def get(self, path: str) -> bytes:
        """The answer's body."""

    def post(self, path: str, body: str) -> bytes:
        """The answer's body."""

    def put(self, path: str, body: str) -> None:
        """Replace."""

    def read_property(self) -> str:
        """The plugin's own global property; empty where there is none."""

    def write_property(self, value: str) -> None:
        """Durably."""


class Archive:
    """Reads studies, sends instances, writes marks. ``modality`` is the node's name in "DicomModalities"."""

    def __init__(self, orthanc: Orthanc, *, modality: str, manufacturer: str) -> None:
        self._orthanc = orthanc
        self._modality = modality
        self._manufacturer = manufacturer

    def read_ledger(self) -> Ledger:
        """What was written last. At the very first start: nothing open, all that is in the archive left alone."""
        kept = self._orthanc.read_property()
        return Ledger.decoded(kept) if kept else Ledger(position=int(self._json("/changes?last")["Last"]))

    def write_ledger(self, ledger: Ledger) -> None:
        """Durably."""
        self._orthanc.write_property(ledger.encoded())

    def changes_since(self, position: int) -> tuple[int, frozenset[str]]:
        """The number of the last change, and the studies in which something has arrived since ``position``."""
        studies: set[str] = set()
        parents: dict[str, str | None] = {}
        while True:
            answer = self._json(f"/changes?since={position}&limit={CHANGES_AT_ONCE}")
            for change in answer["Changes"]:
                position = max(position, int(change["Seq"]))
                study = self._study_of(change, parents)
                if study is not None:
                    studies.add(study)
            if answer["Done"] or not answer["Changes"]:
                return position, frozenset(studies)

    def is_stable(self, study: str) -> bool:
        """Whether nothing has arrived lately. Raises ``NotThere`` for a study that was deleted."""
        return bool(self._json(f"/studies/{study}")["IsStable"])

    def study(self, identifier: str) -> Study:
        """All of a study: a request for every instance. Raises ``NotThere``."""
        uids = {
            one["ID"]: one["MainDicomTags"].get("SOPInstanceUID", "")
            for one in self._json(f"/studies/{identifier}/instances")
        }
        series = tuple(self._series(one, uids) for one in self._json(f"/studies/{identifier}/series"))
        return Study(identifier=identifier, series=series, state=self._metadata("studies", identifier, STATE))

    def reports(self, study: Study) -> Iterator[Report]:
        """The node's reports in a study."""
        for series in study.series:
            if series.manufacturer == self._manufacturer and series.modality == REPORT:
                for image in series.images:
                    yield read_report(self._json(f"/instances/{image.identifier}/simplified-tags"))

    def node_answers(self) -> bool:
        """C-ECHO. Raises ``NotThere`` where Orthanc knows no such modality."""
        try:
            self._orthanc.post(f"/modalities/{self._modality}/echo", json.dumps({"Timeout": ECHO_TIMEOUT_S}))
        except NotThere:
            raise
        except ArchiveFailure:
            return False
        return True

    def send(self, shipment: Shipment) -> str:
        """Start a job that sends; answers its identifier.

        A job and not one long call: the plugin holds Python's lock during a call. And never "Permissive": Orthanc
        1.10.1 then reports success and no failed instance where nothing at all has arrived.
        """
        request = {"Resources": list(shipment.instances), "Synchronous": False, "Permissive": False}
        return str(json.loads(self._orthanc.post(f"/modalities/{self._modality}/store", json.dumps(request)))["ID"])

    def failure_of(self, job: str) -> str | None:
        """``None`` while a job is under way; empty when it has sent everything; else why it has not."""
        try:
            found = self._json(f"/jobs/{job}")
        except NotThere:
            return "Orthanc has forgotten the job"
        if found["State"] == "Success":
            return ""
        if found["State"] == "Failure":
            return str(found.get("ErrorDescription") or "unknown error")
        return None

    def note_sent(self, series: str, digest: str) -> None:
        """Mark a series with the instances that the node has taken."""
        self._orthanc.put(f"/series/{series}/metadata/{SENT}", digest)

    def note_state(self, study: str, state: str) -> None:
        """What became of a study, for people."""
        self._orthanc.put(f"/studies/{study}/metadata/{STATE}", state)

    def _series(self, found: Any, uids: dict[str, str]) -> Series:
        tags = found["MainDicomTags"]
        images = tuple(
            Image(
                identifier=instance,
                sop_instance_uid=uids.get(instance, ""),
                sop_class_uid=self._orthanc.get(f"/instances/{instance}/metadata/SopClassUid").decode(),
            )
            for instance in found["Instances"]
        )
        return Series(
            identifier=found["ID"],
            modality=tags.get("Modality", ""),
            manufacturer=tags.get("Manufacturer", ""),
            images=images,
            sent=self._metadata("series", found["ID"], SENT),
        )

    def _metadata(self, level: str, identifier: str, name: str) -> str:
        return str(self._json(f"/{level}/{identifier}/metadata?expand").get(name, ""))

    def _study_of(self, change: Any, parents: dict[str, str | None]) -> str | None:
        """The study that a change has added to; ``None`` for other changes, and for what is deleted already."""
        if change["ChangeType"] in ("NewStudy", "StableStudy"):
            return str(change["ID"])
        level = _LEVELS_OF_ARRIVAL.get(change["ChangeType"])
        return None if level is None else self._parent_study(level, change["ID"], parents)

    def _parent_study(self, level: str, identifier: str, parents: dict[str, str | None]) -> str | None:
        try:
            found = self._json(f"/{level}/{identifier}")
            if level == "series":
                return str(found["ParentStudy"])
            series = str(found["ParentSeries"])
            if series not in parents:
                parents[series] = self._parent_study("series", series, parents)
        except NotThere:
            return None
        return parents[series]

    def _json(self, path: str) -> Any:
        return json.loads(self._orthanc.get(path))
