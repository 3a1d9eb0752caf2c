"""What the models found, in the terms of anatomy and arithmetic.

Owns the frozen results that pipelines return and that ``dicom_node.results`` encodes. Knows arrays and
millimetres; must not know DICOM encoding, files or study identifiers.
"""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray


class Status(Enum):
    """How an analysis ended; every completed study has exactly one."""

    POSITIVE = "positive"
    """The pipeline ran and found what it looks for."""
    NEGATIVE = "negative"
    """The pipeline ran and found nothing it looks for."""
    NOT_ANALYSED = "not_analysed"
    """No pipeline could run; the reason says why."""


class Region(Enum):
    """The regions that masks may name. Codes (SNOMED CT) are given by ``dicom_node.results``."""

    LEFT_LUNG = "left_lung"
    """Left lung parenchyma, lesions included."""
    RIGHT_LUNG = "right_lung"
    """Right lung parenchyma, lesions included."""
    INFECTED_REGION = "infected_region"
    """Ground-glass opacity and consolidation together, inside the lungs."""


class Side(Enum):
    """The patient's side on which a finding lies."""

    LEFT = "left"
    """The patient's left."""
    RIGHT = "right"
    """The patient's right."""
    BILATERAL = "bilateral"
    """Connected across both sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which weights produced a finding."""

    name: str
    version: str
    digest: str
    """SHA-256 (hex) of the model file that ran."""
    trained_on: str
    """One clause for reports, e.g. "16 public COVID-19 CT cases and synthetic phantoms"."""
    licence: str
    """Of the weights, and what they may be used for, e.g. "CC BY-NC-SA 4.0, research only"."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mask:
    """One region in the source geometry.

    ``array_zyx``: bool, the shape of the source volume's ``array_zyx``.
    """

    region: Region
    array_zyx: NDArray[np.bool_]
    model: ModelIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One 26-connected component of the infected region. Numbered from 1 by falling volume."""

    number: int
    side: Side
    volume_ml: float
    extent_xyz_mm: tuple[float, float, float]
    """Size of the bounding box along the grid's columns, rows and slices, in mm."""
    centroid_mm: tuple[float, float, float]
    """Centre of mass in patient coordinates (LPS, mm)."""
    slices: tuple[int, int]
    """First and last slice index (inclusive) of the volume that hold it."""
    mean_hu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One zone of a zonal score."""

    name: str
    """E.g. "right upper"."""
    percent: float
    """Involved share of the zone's lung volume, in per cent."""
    score: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeverityScore:
    """A score on a named scale, never without its name and citation."""

    scale: str
    citation: str
    score: int
    maximum: int
    zones: tuple[Zone, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Involvement:
    """Share of lung volume inside the infected region, in per cent; ``None`` for a lung that was not found."""

    total_percent: float
    left_percent: float | None
    right_percent: float | None
    left_lung_ml: float
    right_lung_ml: float
    infected_ml: float


class Condition(Enum):
    """What a classifier looks for. Codes (SNOMED CT) are given by ``dicom_node.results``."""

    PULMONARY_EMBOLISM = "pulmonary_embolism"


class Presence(Enum):
    """What is said of a condition in the whole study."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"
    """The models disagree, or the probability lies between the thresholds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What the models say of one condition."""

    condition: Condition
    presence: Presence
    probability: float
    """Of the whole study, 0 to 1, as the models score it; not calibrated unless the model's card says so."""
    slice_probabilities: tuple[float, ...] = ()
    """One for every slice of the source volume, in its order; empty where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle on one slice of the source volume."""

    slice_index: int
    box_xyxy_px: tuple[float, float, float, float]
    """Left, top, right, bottom along columns and rows of ``array_zyx``. (0, 0) is the outer corner of the first pixel,
    so that the far edges of a box around one pixel lie at its index + 1 (PS3.3 C.18.6.1.1, as SCOORD counts)."""
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Embolus:
    """Boxes of neighbouring slices that belong together. Numbered from 1 by falling probability."""

    number: int
    side: Side | None
    """``None`` where no lung tells."""
    probability: float
    extent_xyz_mm: tuple[float, float, float]
    """Size of the box around all boxes along the grid's columns, rows and slices, in mm."""
    boxes: tuple[Box, ...]
    """At most one on each slice, in the order of the slices."""

    @property
    def slices(self) -> tuple[int, int]:
        """First and last slice index (inclusive) of the volume that hold a box of it."""
        return self.boxes[0].slice_index, self.boxes[-1].slice_index


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """All that one pipeline says about one volume.

    ``reason`` is empty for positive and negative; for ``NOT_ANALYSED`` it is a sentence that a PACS
    administrator understands. ``notes`` are remarks a reader needs beside the result.
    """

    pipeline: str
    status: Status
    reason: str
    models: tuple[ModelIdentity, ...]
    masks: tuple[Mask, ...] = ()
    lesions: tuple[Lesion, ...] = ()
    involvement: Involvement | None = None
    severity: tuple[SeverityScore, ...] = ()
    classifications: tuple[Classification, ...] = ()
    emboli: tuple[Embolus, ...] = ()
    notes: tuple[str, ...] = ()
    timings_s: dict[str, float] = field(default_factory=dict)

    def classification(self, condition: Condition) -> Classification | None:
        """What is said of a condition; ``None`` where it was not looked for."""
        return next((one for one in self.classifications if one.condition is condition), None)
