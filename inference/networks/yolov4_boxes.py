"""From YOLOv4's raw predictions to boxes: decoding and non-maximum suppression, both without data-dependent shapes.

The suppression runs a fixed number of steps to the fixed point of "kept = no better kept box overlaps", which is the
greedy result, and the output is padded; so the whole is part of the exported graph. All of it in float32: half
precision moves boxes by pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from inference.networks.yolov4 import ANCHORS_A_HEAD, STRIDES

Anchors = Sequence[Sequence[tuple[float, float]]]
"""Width and height in pixels of the input, three for each head, the fine head first."""

GRID_SCALES = (1.2, 1.1, 1.05)
"""How far a centre may reach over the borders of its cell (the authors' ``scale_x_y``)."""
LARGEST_LOG = 8.0
"""exp(8) times an anchor is larger than any picture."""
STEPS = 12
"""Of the suppression: a chain of boxes that decide over each other is seldom longer than four."""


def decode(outputs: Sequence[Tensor], anchors: Anchors) -> tuple[Tensor, Tensor]:
    """Boxes N×P×4 (left, top, right, bottom in pixels) and the log odds N×P×(1 + classes) of object and classes.

    ``outputs`` as ``YoloV4`` gives them; P = all anchors of all cells, fine head first.
    """
    boxes, odds = [], []
    for output, stride, scale, sizes in zip(outputs, STRIDES, GRID_SCALES, anchors, strict=True):
        count, channels, rows, columns = output.shape
        values = output.float().reshape(count, ANCHORS_A_HEAD, channels // ANCHORS_A_HEAD, rows, columns)
        x = torch.arange(columns, device=output.device, dtype=torch.float32)[None, None, None, :]
        y = torch.arange(rows, device=output.device, dtype=torch.float32)[None, None, :, None]
        size = torch.tensor(sizes, device=output.device)[None, :, :, None, None]
        reach = (scale - 1) / 2
        centre_x = (torch.sigmoid(values[:, :, 0]) * scale - reach + x) * stride
        centre_y = (torch.sigmoid(values[:, :, 1]) * scale - reach + y) * stride
        half = torch.exp(values[:, :, 2:4].clamp(max=LARGEST_LOG)) * size / 2
        corners = [
            centre_x - half[:, :, 0],
            centre_y - half[:, :, 1],
            centre_x + half[:, :, 0],
            centre_y + half[:, :, 1],
        ]
        boxes.append(torch.stack(corners, dim=-1).reshape(count, -1, 4))
        odds.append(values[:, :, 4:].permute(0, 1, 3, 4, 2).reshape(count, ANCHORS_A_HEAD * rows * columns, -1))
    return torch.cat(boxes, dim=1), torch.cat(odds, dim=1)


def pairwise_iou(boxes: Tensor) -> Tensor:
    """Intersection over union of every pair, N×K×K from N×K×4."""
    low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    sides = (high - low).clamp(min=0.0)
    shared = sides[..., 0] * sides[..., 1]
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return shared / (area[:, :, None] + area[:, None, :] - shared).clamp(min=1e-6)


def suppressed(boxes: Tensor, scores: Tensor, *, candidates: int, kept: int, overlap: float) -> Tensor:
    """The best boxes that do not overlap each other by more than ``overlap``: N×``kept``×5 with the score last.

    ``boxes`` N×P×4, ``scores`` N×P. Only the ``candidates`` best are looked at. Missing boxes are zeros.
    """
    best, index = torch.topk(scores, candidates, dim=1)
    chosen = torch.gather(boxes, 1, index[:, :, None].expand(-1, -1, 4))
    earlier = torch.tril(torch.ones(candidates, candidates, device=boxes.device), diagonal=-1)
    beats = (pairwise_iou(chosen) > overlap).to(torch.float32) * earlier  # row i: better boxes that overlap i
    alive = torch.ones_like(best)
    for _ in range(STEPS):
        alive = 1.0 - (beats * alive[:, None, :]).amax(dim=2)
    final, order = torch.topk(best * alive, kept, dim=1)
    boxes = torch.gather(chosen, 1, order[:, :, None].expand(-1, -1, 4))
    return torch.cat([boxes, final[:, :, None]], dim=2) * (final > 0).to(torch.float32)[:, :, None]
