"""The loss of YOLOv4: which anchors answer for which box, complete IoU, cross-entropy of objectness and class."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.networks.yolov4 import ANCHORS_A_HEAD, STRIDES
from inference.networks.yolov4_boxes import Anchors, decode

ANSWERS_FROM = 0.213
"""Overlap of a box's and an anchor's shape from which the anchor answers for the box (the authors' ``iou_thresh``)."""
IGNORED_FROM = 0.6
"""Predictions that overlap a true box by more than this without answering for it are not held against it."""
BOX_WEIGHT, OBJECT_WEIGHT, CLASS_WEIGHT = 2.0, 1.0, 0.5
RARE = -4.6
"""Log odds of an object in a cell to begin with: 1 %."""


def start_rare(heads: Sequence[torch.nn.Conv2d]) -> None:
    """Set the heads' bias so that objects are rare in the beginning."""
    for head in heads:
        if head.bias is None:
            raise ValueError("a head without bias")
        with torch.no_grad():
            head.bias.view(ANCHORS_A_HEAD, -1)[:, 4] = RARE


def detection_loss(outputs: Sequence[Tensor], truth: Sequence[Tensor], anchors: Anchors) -> Tensor:
    """Of raw ``outputs`` against the true boxes of each picture, (n, 4) in pixels; one class.

    Means over the anchors that answer for a box, so that pictures without a box cost through their objectness alone.
    """
    boxes, odds = decode(outputs, anchors)
    picture, position, matched = _answering(outputs, truth, anchors)
    objectness = odds[:, :, 0]
    target = torch.zeros_like(objectness)
    weight = torch.ones_like(objectness)
    for index, one in enumerate(truth):
        if len(one):
            with torch.no_grad():
                weight[index] = (_iou(boxes[index][:, None], one[None]).amax(dim=1) < IGNORED_FROM).float()
    answers = max(len(picture), 1)
    loss = objectness.sum() * 0.0
    if len(picture):
        target[picture, position] = 1.0
        weight[picture, position] = 1.0
        found = boxes[picture, position]
        loss = loss + BOX_WEIGHT * (1 - complete_iou(found, matched)).mean()
        classes = odds[picture, position, 1:]
        loss = loss + CLASS_WEIGHT * F.binary_cross_entropy_with_logits(classes, torch.ones_like(classes))
    entropy = F.binary_cross_entropy_with_logits(objectness, target, reduction="none") * weight
    return loss + OBJECT_WEIGHT * entropy.sum() / max(answers, len(truth))


def complete_iou(found: Tensor, true: Tensor) -> Tensor:
    """CIoU (Zheng et al. 2020, arXiv 1911.08287) of boxes (n, 4): IoU less distance and difference of shape."""
    iou = _iou(found, true)
    low, high = torch.minimum(found[:, :2], true[:, :2]), torch.maximum(found[:, 2:], true[:, 2:])
    diagonal = ((high - low) ** 2).sum(dim=1) + 1e-6
    distance = (((found[:, :2] + found[:, 2:]) - (true[:, :2] + true[:, 2:])) ** 2).sum(dim=1) / 4
    sides_found, sides_true = found[:, 2:] - found[:, :2], true[:, 2:] - true[:, :2]
    angles = torch.atan(sides_true[:, 0] / sides_true[:, 1]) - torch.atan(
        sides_found[:, 0] / sides_found[:, 1].clamp(min=1e-6)
    )
    shape = 4 / math.pi**2 * angles**2
    with torch.no_grad():
        weight = shape / (1 - iou + shape + 1e-6)
    return iou - distance / diagonal - weight * shape


def _iou(first: Tensor, second: Tensor) -> Tensor:
    """Of boxes that broadcast against each other, (…, 4)."""
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    sides = (high - low).clamp(min=0.0)
    shared = sides[..., 0] * sides[..., 1]
    area = [(box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (first, second)]
    return shared / (area[0] + area[1] - shared).clamp(min=1e-6)


def _answering(outputs: Sequence[Tensor], truth: Sequence[Tensor], anchors: Anchors) -> tuple[Tensor, Tensor, Tensor]:
    """Picture, position among all anchors of all cells, and the true box, of every anchor that answers for one.

    The anchor most like a box always answers; others do from ``ANSWERS_FROM`` on.
    """
    device = outputs[0].device
    shapes = torch.tensor([size for head in anchors for size in head], device=device)
    cells = [(output.shape[2], output.shape[3]) for output in outputs]
    firsts = [0]
    for rows, columns in cells:
        firsts.append(firsts[-1] + ANCHORS_A_HEAD * rows * columns)
    pictures, positions, matched = [], [], []
    for index, boxes in enumerate(truth):
        if not len(boxes):
            continue
        sides = boxes[:, 2:] - boxes[:, :2]
        shared = torch.minimum(sides[:, None], shapes[None]).prod(dim=2)
        likeness = shared / (sides.prod(dim=1)[:, None] + shapes.prod(dim=1)[None] - shared)
        answers = likeness > ANSWERS_FROM
        answers[torch.arange(len(boxes)), likeness.argmax(dim=1)] = True
        for box, anchor in answers.nonzero().tolist():
            head, which = divmod(anchor, ANCHORS_A_HEAD)
            rows, columns = cells[head]
            centre = (boxes[box, :2] + boxes[box, 2:]) / 2 / STRIDES[head]
            column = min(max(int(centre[0]), 0), columns - 1)
            row = min(max(int(centre[1]), 0), rows - 1)
            pictures.append(index)
            positions.append(firsts[head] + (which * rows + row) * columns + column)
            matched.append(boxes[box])
    return (
        torch.tensor(pictures, dtype=torch.long, device=device),
        torch.tensor(positions, dtype=torch.long, device=device),
        torch.stack(matched) if matched else torch.zeros((0, 4), device=device),
    )
