"""Every case through a real node, and what came back held against the truth.

Owns the run (one node, one archive, all studies by C-STORE) and the comparison. Every voxel of every slice counts, also
of slices that the SEG leaves out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import ComprehensiveSRStorage, SegmentationStorage

from benchmarks.geometry.grids import CASES, Case
from benchmarks.geometry.phantom import region_mask
from benchmarks.geometry.second_opinions import (
    DrawnBox,
    SegmentFrame,
    boxes_with_dsrdump,
    boxes_with_highdicom,
    by_place_with_highdicom,
    by_source_with_highdicom,
    corners_mm,
    read_with_dcmtk,
)
from benchmarks.geometry.studies import MARKED_PIXEL, Study, write_study
from dicom_node.delivery import Address, send_folder
from dicom_node.demonstration.archive import Archive
from dicom_node.demonstration.node_process import NodeProcess
from dicom_node.records import StoredInstance
from inference.findings import Region

NODE_MODULE = "benchmarks.geometry.exact_node"
SETTLE_S = 1.0
TIMEOUT_S = 240.0
SAME_PLACE_MM = 0.001
"""Decimal strings hold 16 characters."""
ROUNDED_PLACE_MM = 0.15
"""For readers that make one regular grid of positions that a scanner rounded."""
LABELS = {
    Region.LEFT_LUNG: "Left lung",
    Region.RIGHT_LUNG: "Right lung",
    Region.INFECTED_REGION: "Infected region",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One reading of a SEG against the truth."""

    wrong_voxels: int
    """In all regions; voxels of planes that lie on no source frame count whole."""
    farthest_mm: float
    """Between a voxel's centre and that of the source voxel that it marks; 0 where the reading gives no places."""
    misplaced_frames: int
    """Frames that name another source frame than the one that they lie on, or lie on none."""

    @property
    def right(self) -> bool:
        """Whether nothing differs."""
        return self.wrong_voxels == 0 and self.misplaced_frames == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case: how its SEG compares, or why there is none."""

    case: Case
    refusal: str
    """The node's reason; empty where it analysed."""
    compared_voxels: int = 0
    """All voxels of the source, once for each region."""
    marked_voxels: int = 0
    """Of them, those that belong to their region in truth."""
    by_source: Agreement | None = None
    by_place: Agreement | None = None
    dcmtk: Agreement | None = None
    drawn: DrawnBox | None = None
    """The edges of the marked pixel, on its frame."""
    box_with_highdicom: frozenset[DrawnBox] = frozenset()
    box_with_dsrdump: frozenset[DrawnBox] = frozenset()

    @property
    def holds(self) -> bool:
        """Whether the case came out as it has to."""
        if self.case.refusal:
            return self.case.refusal in self.refusal
        if self.by_source is None or self.by_place is None or self.dcmtk is None:
            return False
        rounded = self.case.position_decimals is not None
        return (
            all(each.right for each in (self.by_source, self.by_place, self.dcmtk))
            and self.dcmtk.farthest_mm < SAME_PLACE_MM
            and self.by_place.farthest_mm < (ROUNDED_PLACE_MM if rounded else SAME_PLACE_MM)
            and self.box_comes_back
        )

    @property
    def box_comes_back(self) -> bool:
        """Whether both readers find the one box, on its pixel and its frame."""
        return {self.drawn} == self.box_with_highdicom == self.box_with_dsrdump


def measure(folder: Path) -> Iterator[Row]:
    """Send all cases through one node; a row for each, in the order of ``CASES``."""
    studies = [write_study(case, folder / "studies" / f"{number:02d}") for number, case in enumerate(CASES)]
    with Archive(folder / "archive", ae_title="ARCHIVE") as archive:
        flags = ["--settle", str(SETTLE_S), "--destination", f"archive=ARCHIVE@127.0.0.1:{archive.port}"]
        with NodeProcess(folder / "node", flags, module=NODE_MODULE) as node:
            for study in studies:
                outcomes = send_folder(study.folder, Address("DICOMNODE", "127.0.0.1", node.dicom_port))
                assert all(outcome.accepted for outcome in outcomes)
            for study in studies:
                answer = node.wait_until_settled(study.study_uid, timeout_s=TIMEOUT_S)
                assert answer["state"] == "done", answer["reason"]
                received = [one for one in archive.received() if one.facts.study_uid == study.study_uid]
                yield _row(study, received, str(answer["findings"]["reason"]))


def _row(study: Study, received: Sequence[StoredInstance], reason: str) -> Row:
    segmentations = [one.file.path for one in received if one.facts.sop_class_uid == SegmentationStorage]
    if not segmentations:
        return Row(case=study.case, refusal=reason)
    (segmentation,) = segmentations
    reports = [one.file.path for one in received if one.facts.sop_class_uid == ComprehensiveSRStorage]
    (measurements,) = (path for path in reports if _template(path) == "1500")
    truth = np.stack([frame.hu for frame in study.frames])
    sources = [(frame.sop_instance_uid, frame.frame_number) for frame in study.frames]
    row, column = MARKED_PIXEL
    return Row(
        case=study.case,
        refusal=reason,
        compared_voxels=truth.size * len(LABELS),
        marked_voxels=sum(int(region_mask(region, truth).sum()) for region in LABELS),
        by_source=compare(study, by_source_with_highdicom(segmentation, sources)),
        by_place=compare(study, by_place_with_highdicom(segmentation)),
        dcmtk=compare(study, read_with_dcmtk(segmentation)),
        drawn=DrawnBox(
            source=(study.marked.sop_instance_uid, study.marked.frame_number),
            box_xyxy_px=(column, row, column + 1, row + 1),
        ),
        box_with_highdicom=boxes_with_highdicom(measurements),
        box_with_dsrdump=boxes_with_dsrdump(measurements),
    )


def _template(path: Path) -> str:
    templates = dcmread(path).get("ContentTemplateSequence") or [Dataset()]
    return str(templates[0].get("TemplateIdentifier", ""))


def compare(study: Study, found: Sequence[SegmentFrame]) -> Agreement:
    """Put what was found on the source frames, by name and by place, and count what differs from the truth."""
    truth = np.stack([frame.hu for frame in study.frames])
    numbers = {(frame.sop_instance_uid, frame.frame_number): n for n, frame in enumerate(study.frames)}
    corners = np.stack([corners_mm(frame.plane, frame.hu.shape) for frame in study.frames])
    marked = {label: np.zeros(truth.shape, bool) for label in LABELS.values()}
    wrong, misplaced, farthest_mm = 0, 0, 0.0
    for each in found:
        named = None if each.source is None else numbers.get(each.source)
        lies_on = None
        if each.corners_mm is not None:
            distances_mm = np.linalg.norm(corners - each.corners_mm, axis=2).max(axis=1)
            nearest = int(distances_mm.argmin())
            if distances_mm[nearest] < study.case.grid.distance_mm / 2:
                lies_on, farthest_mm = nearest, max(farthest_mm, float(distances_mm[nearest]))
        n = named if lies_on is None else lies_on
        if n is None or (each.source is not None and named != n) or (each.corners_mm is not None and lies_on is None):
            misplaced += 1
            wrong += int(each.mask.sum())
        else:
            marked[each.label][n] |= each.mask
    wrong += sum(int((marked[label] != region_mask(region, truth)).sum()) for region, label in LABELS.items())
    return Agreement(wrong_voxels=wrong, farthest_mm=farthest_mm, misplaced_frames=misplaced)
