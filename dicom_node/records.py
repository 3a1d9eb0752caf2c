"""What crosses a stage: frozen, slotted, keyword-only records without DICOM data sets.

Owns the nouns that all rooms share. Knows no database, no network and no pydicom.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameGeometry:
    """Where one frame lies (PS3.3 C.7.6.2), and how its stored values become Hounsfield units."""

    position_mm: tuple[float, float, float] | None
    """Image Position (Patient) (0020,0032)."""
    orientation: tuple[float, float, float, float, float, float] | None
    """Image Orientation (Patient) (0020,0037): direction of the rows, then of the columns."""
    spacing_mm: tuple[float, float] | None
    """Pixel Spacing (0028,0030): between rows, between columns."""
    rescale_slope: float | None
    rescale_intercept: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFacts:
    """The header facts of one instance that decisions need. No patient identifiers.

    ``None`` or empty where the attribute is absent or empty.
    """

    sop_instance_uid: str
    sop_class_uid: str
    study_uid: str
    series_uid: str
    transfer_syntax_uid: str
    modality: str
    image_type: tuple[str, ...]
    series_number: int | None
    series_description: str
    instance_number: int | None
    body_part: str
    kernel: str
    contrast_agent: str
    slice_thickness_mm: float | None
    gantry_tilt_deg: float | None
    rows: int | None
    columns: int | None
    frames: tuple[FrameGeometry, ...]
    """One entry a frame; exactly one for single-frame classes; empty where there are no pixels."""
    frame_of_reference_uid: str
    burned_in_annotation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SopReference:
    """An instance by its UIDs (PS3.3 table 10-11)."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Part10File:
    """Where a Part 10 file (PS3.10 section 7) lies: a file of its own, or a part of one that holds many (``spool``)."""

    path: Path
    start: int = 0
    """Its first byte; where a page of memory may begin (``mmap.ALLOCATIONGRANULARITY``)."""
    size_bytes: int | None = None
    """``None``: up to the end of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An encoded data set that lies durably in the spool."""

    file: Part10File
    digest: str
    """XXH3, 128 bits, of the data set exactly as received, without preamble and file meta information (hex)."""
    size_bytes: int
    """Of the data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """An instance that lies durably in the spool, or a file of a folder given to ``infer``."""

    facts: InstanceFacts
    file: Part10File
    digest: str
    """See ``Stored``; empty for a file of a folder, which nobody holds against anything."""
    size_bytes: int
    """Of the data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All received instances of one series."""

    study_uid: str
    series_uid: str
    instances: tuple[StoredInstance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesDecision:
    """Why a series feeds a pipeline, or why not. Stored, and shown to people."""

    series_uid: str
    pipeline: str | None
    """Name of the pipeline that the series is chosen for; ``None`` where it feeds none."""
    reason: str
    """E.g. "chosen: axial, 2 mm, 133 slices" or "not analysed: localizer"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSource:
    """Which instance and frame a slice of a volume came from."""

    sop_instance_uid: str
    sop_class_uid: str
    frame_number: int
    """Counted from 1, as in Referenced Frame Number (0008,1160)."""
    file: Part10File


class Right(Enum):
    """What a peer may ask for in an association; each is a service of the standard."""

    ECHO = "echo"
    """Verification: whether the node is there (PS3.4 Annex A)."""
    STORE = "store"
    """Storage: take instances (PS3.4 Annex B)."""
    COMMIT = "commit"
    """Storage commitment: say which instances are kept safe (PS3.4 Annex J)."""


class ResultKind(Enum):
    """The objects that the node makes."""

    SEGMENTATION = "segmentation"
    """DICOM SEG: lungs and infected region."""
    REPORT = "report"
    """Comprehensive SR that prints as a tree: scores, lesions, models, reasons; for every study."""
    SUMMARY = "summary"
    """Secondary capture picture: key slices with contours, and the score."""
    KEY_OBJECTS = "key_objects"
    """Key Object Selection: the source images worth looking at; for positive studies that have something to show."""
    MEASUREMENTS = "measurements"
    """TID 1500 Measurement Report that viewers draw: a rectangle for every box; for studies that have boxes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultObject:
    """One object that the node wrote for a study, a Part 10 file ready to be sent."""

    kind: ResultKind
    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str
    path: Path


class StudyState(Enum):
    """How far a generation of a study is."""

    RECEIVING = "receiving"
    """Instances are arriving, or the quiet time is not over."""
    QUEUED = "queued"
    """Complete; a job is waiting to run."""
    ANALYSING = "analysing"
    """A job is running."""
    DELIVERING = "delivering"
    """Results are written; at least one destination has not taken all of them yet."""
    DONE = "done"
    """Every destination has taken every result, or another in its place."""
    FAILED = "failed"
    """Parked: an operator has to act. The reason is stored."""


class CommitmentState(Enum):
    """How far a request for storage commitment is."""

    WAITING = "waiting"
    """Not reported yet, or to be tried again at a known time."""
    REPORTED = "reported"
    """The peer has taken the report."""
    REFUSED = "refused"
    """The peer answered the report with a failure."""
    EXPIRED = "expired"
    """Tried for as long as the settings allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentReport:
    """What a peer is told about the instances of its request (PS3.4 section J.3.3)."""

    transaction_uid: str
    committed: tuple[SopReference, ...]
    failed: tuple[tuple[SopReference, int], ...]
    """Each with its Failure Reason (0008,1197)."""


class DeliveryState(Enum):
    """How far one object is on its way to one destination."""

    WAITING = "waiting"
    """Not sent yet, or to be tried again at a known time."""
    DELIVERED = "delivered"
    """The destination answered success or a warning."""
    REFUSED = "refused"
    """The destination refused it for good: an operator has to act."""
    REPLACED = "replaced"
    """The destination does not take its SOP class; what stands in for it was sent there, or is owed."""
    UNSUPPORTED = "unsupported"
    """The destination takes neither its SOP class nor what could stand in for it: an operator has to act."""
    EXPIRED = "expired"
    """Tried for as long as the settings allow: an operator has to act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One result object on its way to one destination."""

    destination: str
    sop_instance_uid: str
    state: DeliveryState
    tries: int
    last_error: str
    next_try_at: datetime | None
    delivered_at: datetime | None
