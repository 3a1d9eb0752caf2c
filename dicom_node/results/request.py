"""What the builders of result objects are given: one completed study and what was found in it.

Owns ``ResultRequest``, which is everything that decides the bytes of the results: the same request gives the same
files. Knows no encoding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from dicom_node.records import FrameSource, InstanceFacts, Series, SeriesDecision, StoredInstance
from dicom_node.uids import result_uid
from inference.findings import Findings, Mask, Region, SeverityScore, Status
from inference.volume import Volume

SIX_ZONES = 6
"""Zones of the six-zone CT score; the five-lobe score has five."""
FIVE_LOBES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRequest:
    """One generation of a study, ready to be reported.

    Raises ``ValueError`` where the parts do not belong together (a fault of the caller, never of the input).
    """

    study_uid: str
    series: tuple[Series, ...]
    """Every series of the generation, also those that were not analysed."""
    decisions: tuple[SeriesDecision, ...]
    findings: Findings
    volume: Volume | None
    """The analysed volume; ``None`` where none could be built."""
    sources: tuple[FrameSource, ...]
    """``sources[k]`` is the frame that slice k of the volume came from; empty without a volume."""
    chosen_series_uid: str | None
    created_at: datetime
    """Aware; the same for every run of the same generation, because it is written into the objects."""
    settings_digest: str
    software_version: str

    def __post_init__(self) -> None:
        if self.created_at.tzinfo is None:
            raise ValueError("created_at must know its time zone")
        slices = 0 if self.volume is None else self.volume.array_zyx.shape[0]
        if slices != len(self.sources):
            raise ValueError(f"{len(self.sources)} sources for {slices} slices")
        for mask in self.findings.masks:
            if self.volume is None or mask.array_zyx.shape != self.volume.array_zyx.shape:
                raise ValueError(f"mask {mask.region.value} is not on the grid of the volume")
        for box in (box for embolus in self.findings.emboli for box in embolus.boxes):
            if not 0 <= box.slice_index < slices:
                raise ValueError(f"a box lies on slice {box.slice_index} of {slices}")
        for classification in self.findings.classifications:
            if len(classification.slice_probabilities) not in (0, slices):
                raise ValueError(f"{len(classification.slice_probabilities)} probabilities for {slices} slices")
        if self.findings.status is not Status.NOT_ANALYSED and self.volume is None:
            raise ValueError("positive and negative findings need the volume that they were found in")

    @property
    def instances(self) -> Iterator[StoredInstance]:
        """Every instance of the study, series by series."""
        return (instance for series in self.series for instance in series.instances)

    @property
    def source_facts(self) -> tuple[InstanceFacts, ...]:
        """Facts of the instance behind each slice of the volume, in the volume's order."""
        by_uid = {instance.facts.sop_instance_uid: instance.facts for instance in self.instances}
        return tuple(by_uid[source.sop_instance_uid] for source in self.sources)

    def uid(self, role: str) -> str:
        """The UID of one part of the results, e.g. "report/series"."""
        # All instances count, not only the analysed ones: a late localizer opens a new generation, whose report
        # differs, and one UID must never name two contents.
        return result_uid(
            role=role,
            sources=[self.study_uid, *(instance.facts.sop_instance_uid for instance in self.instances)],
            models=self.findings.models,
            settings_digest=self.settings_digest,
            reason=self.findings.reason,
        )

    def mask(self, region: Region) -> Mask | None:
        """The mask of a region, or ``None`` where the pipeline gave none or it holds no voxel."""
        return next((mask for mask in self.findings.masks if mask.region is region and mask.array_zyx.any()), None)

    def score(self, zones: int) -> SeverityScore | None:
        """The severity score with that many zones, if there is one."""
        return next((score for score in self.findings.severity if len(score.zones) == zones), None)
