"""How well boxes agree with true boxes: average precision at an overlap, and false alarms.

Every figure pools the boxes of all pictures, as COCO and Kiourt et al. 2021 (figure 5) do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OVERLAPS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Those of figure 5 of the paper."""

Boxes = NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureBoxes:
    """Of one picture: ``found`` (n, 5) with the score last, ``true`` (m, 4); left, top, right, bottom."""

    found: Boxes
    true: Boxes


def average_precision(pictures: Sequence[PictureBoxes], *, overlap: float) -> float | None:
    """Area under the precision-recall curve, precision made monotonic (every point). ``None`` without true boxes.

    A found box hits if its IoU with a true box that no better one has taken is at least ``overlap``.
    """
    total = sum(len(picture.true) for picture in pictures)
    if not total:
        return None
    scores = np.concatenate([picture.found[:, 4] for picture in pictures])
    hits = np.concatenate([hit_boxes(picture, overlap=overlap) for picture in pictures])
    hits = hits[np.argsort(-scores, kind="stable")]
    caught = np.cumsum(hits)
    precision = np.maximum.accumulate((caught / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float((precision * hits).sum() / total)


def hit_boxes(picture: PictureBoxes, *, overlap: float) -> NDArray[np.bool_]:
    """Which of the found boxes hit a true one, the best first served."""
    hits = np.zeros(len(picture.found), np.bool_)
    taken = np.zeros(len(picture.true), np.bool_)
    ious = iou(picture.found[:, :4], picture.true)
    for index in np.argsort(-picture.found[:, 4], kind="stable"):
        if not len(taken):
            break
        free = np.where(taken, -1.0, ious[index])
        best = int(free.argmax())
        if free[best] >= overlap:
            hits[index] = taken[best] = True
    return hits


def iou(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Intersection over union of every pair, (n, m) from (n, 4) and (m, 4)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float64)
