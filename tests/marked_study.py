"""A study with emboli at known places: what the pipeline for pulmonary embolism would have said of it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dicom_node.results import ResultRequest
from dicom_node.spool.folder import studies_in
from dicom_node.volumes import build_volume
from inference.findings import (
    Box,
    Classification,
    Condition,
    Embolus,
    Findings,
    ModelIdentity,
    Presence,
    Side,
    Status,
)

EMBOLI: Final = (
    Embolus(
        number=1,
        side=Side.RIGHT,
        probability=0.87,
        extent_xyz_mm=(32.0, 26.0, 15.0),
        boxes=(
            Box(slice_index=18, box_xyxy_px=(70.25, 90.0, 94.75, 110.5), score=0.61),
            Box(slice_index=19, box_xyxy_px=(71.0, 91.0, 95.5, 110.25), score=0.87),
            Box(slice_index=20, box_xyxy_px=(75.0, 92.5, 90.0, 108.0), score=0.55),
        ),
    ),
    Embolus(
        number=2,
        side=Side.LEFT,
        probability=0.64,
        extent_xyz_mm=(17.0, 26.0, 7.5),
        boxes=(Box(slice_index=19, box_xyxy_px=(180.0, 150.0, 193.0, 170.0), score=0.64),),
    ),
)
"""For slices of 256 pixels, 40 or so of them. Two on one slice, one over several, edges within pixels."""
BOXES: Final = tuple(box for embolus in EMBOLI for box in embolus.boxes)
MODEL: Final = ModelIdentity(
    name="emboli_by_hand", version="1", digest="ef" * 32, trained_on="nothing: placed by a test", licence="MIT"
)


def marked_study(folder: Path, *, scratch: Path) -> ResultRequest:
    """The study of one series in ``folder`` with ``EMBOLI`` in it."""
    ((study_uid, (series,)),) = studies_in(folder, scratch=scratch).studies.items()
    volume = build_volume(series, minimum_slices=1)
    findings = Findings(
        pipeline="pulmonary_embolism",
        status=Status.POSITIVE,
        reason="",
        models=(MODEL,),
        classifications=(
            Classification(condition=Condition.PULMONARY_EMBOLISM, presence=Presence.PRESENT, probability=0.93),
        ),
        emboli=EMBOLI,
    )
    return ResultRequest(
        study_uid=study_uid,
        series=(series,),
        decisions=(),
        findings=findings,
        volume=volume.volume,
        sources=volume.sources,
        chosen_series_uid=series.series_uid,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        settings_digest="5e" * 32,
        software_version="0.1.0",
    )
