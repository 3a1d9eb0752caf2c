"""How well the boxes of a measurement report agree with the boxes of a phantom's truth.

The report is read with highdicom, as the PACS's user gets it; boxes are matched by the image that they lie on.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from dicom_node.results import codes
from inference.training.evaluation.detection import Boxes, PictureBoxes, average_precision, hit_boxes

OVERLAP: Final = 0.5
NO_BOXES: Final = np.zeros((0, 5))


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxAgreement:
    """Over all images that hold a box, found or true."""

    average_precision: float | None
    """At an IoU of ``OVERLAP``; ``None`` where the truth has no boxes."""
    found: int
    hits: int
    true: int


def boxes_against_truth(report: Path | None, truth: Path) -> BoxAgreement:
    """``report``: the TID 1500 document, ``None`` where there is none. ``truth``: ``boxes.json`` of a phantom."""
    found = {} if report is None else boxes_of_report(report)
    true = {uid: np.array(boxes, float).reshape(-1, 4) for uid, boxes in json.loads(truth.read_text()).items()}
    pictures = [
        PictureBoxes(found=found.get(uid, NO_BOXES), true=true.get(uid, NO_BOXES[:, :4]))
        for uid in sorted(found.keys() | true.keys())
    ]
    return BoxAgreement(
        average_precision=average_precision(pictures, overlap=OVERLAP) if pictures else None,
        found=sum(len(picture.found) for picture in pictures),
        hits=sum(int(hit_boxes(picture, overlap=OVERLAP).sum()) for picture in pictures),
        true=sum(len(picture.true) for picture in pictures),
    )


def boxes_of_report(report: Path) -> dict[str, Boxes]:
    """SOP Instance UID → boxes (n, 5): left, top, right, bottom in pixels, and the certainty, 0 to 1.

    Raises ``ValueError`` where it is no TID 1500 document.
    """
    content = hd.sr.srread(report).content
    if not isinstance(content, hd.sr.MeasurementReport):
        raise ValueError(f"{report} is no measurement report")
    boxes: dict[str, list[tuple[float, ...]]] = {}
    for group in content.get_planar_roi_measurement_groups():
        if group.roi is None:
            raise ValueError(f"{report} has a group of measurements without a region")
        points = group.roi.value
        (image,) = group.roi.ContentSequence
        box = (*points.min(axis=0), *points.max(axis=0), _certainty(group[0]))
        boxes.setdefault(image.referenced_sop_instance_uid, []).append(tuple(map(float, box)))
    return {uid: np.array(rows) for uid, rows in boxes.items()}


def _certainty(group: Dataset) -> float:
    (item,) = [
        one
        for one in group.ContentSequence
        if one.ConceptNameCodeSequence[0].CodeValue == codes.CERTAINTY_OF_FINDING.value
    ]
    return float(item.MeasuredValueSequence[0].NumericValue) / 100
