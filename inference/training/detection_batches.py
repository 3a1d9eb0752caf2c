"""Batches for the detector: mosaics of crops (YOLOv4's augmentation), and every few steps whole pictures.

Crops hold more clots in the same time; whole pictures keep the statistics of what is served. Every batch depends on the
seed and the step alone.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.training.slice_pool import SlicePool

Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float32]

CROP_PX, CROPS = 224, 16
WHOLE = 4
"""Whole pictures in a batch; as many pixels as the crops have, about."""
WHOLE_EVERY = 4
"""Steps."""
FILLED = 0.7
AT_A_BOX = 0.75
"""Share of the parts of a mosaic that hold a clot where the picture has one."""
ALONE = 0.4
"""Share of the crops that are no mosaic."""
SCALE = (0.8, 1.3)
SMALLEST_PART = 0.4
"""Of a box's area that must be left in a crop; else the pixels under it are made grey, so that nothing is unclear."""
GREY_LEVEL = 80
CONTRAST, BRIGHTNESS, NOISE = (0.8, 1.25), 0.06, 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionBatch:
    """``pictures`` N×3×H×W in 0-1, and the boxes (n, 4) of each."""

    pictures: Tensor
    truth: tuple[Tensor, ...]


class DetectionBatches:
    """Draws batches; ``FILLED`` of the pictures hold clots."""

    def __init__(self, pool: SlicePool, *, seed: int) -> None:
        self._pool, self._seed = pool, seed

    def draw(self, step: int) -> DetectionBatch:
        """The batch of that step."""
        rng = np.random.default_rng((self._seed, step))
        whole = step % WHOLE_EVERY == WHOLE_EVERY - 1
        made = [self._whole(rng) if whole else self._crop(rng) for _ in range(WHOLE if whole else CROPS)]
        pictures, truth = [], []
        for picture, boxes in made:
            if rng.uniform() < 0.5:
                picture = picture[:, :, ::-1]
                boxes = boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + np.array((1, 0, 1, 0)) * picture.shape[2]
            pictures.append(_contrast(picture, rng))
            truth.append(torch.from_numpy(np.ascontiguousarray(boxes, np.float32)))
        stacked = torch.from_numpy(np.stack(pictures)).contiguous(memory_format=torch.channels_last)
        return DetectionBatch(pictures=stacked, truth=tuple(truth))

    def _drawn(self, rng: np.random.Generator) -> tuple[Pixels, Boxes]:
        return self._pool.draw(filled=bool(rng.uniform() < FILLED), rng=rng)

    def _whole(self, rng: np.random.Generator) -> tuple[Pixels, Boxes]:
        return self._drawn(rng)

    def _crop(self, rng: np.random.Generator) -> tuple[Pixels, Boxes]:
        if rng.uniform() < ALONE:
            return _part(*self._drawn(rng), width=CROP_PX, height=CROP_PX, rng=rng)
        canvas = np.empty((3, CROP_PX, CROP_PX), np.uint8)
        split_x, split_y = (int(rng.integers(CROP_PX // 3, 2 * CROP_PX // 3)) for _ in range(2))
        boxes = []
        for left, right in ((0, split_x), (split_x, CROP_PX)):
            for top, bottom in ((0, split_y), (split_y, CROP_PX)):
                part, inside = _part(*self._drawn(rng), width=right - left, height=bottom - top, rng=rng)
                canvas[:, top:bottom, left:right] = part
                boxes.append(inside + np.array((left, top, left, top), np.float32))
        return canvas, np.concatenate(boxes)


def _part(picture: Pixels, boxes: Boxes, *, width: int, height: int, rng: np.random.Generator) -> tuple[Pixels, Boxes]:
    """A random part of a picture at a random size, around a box more often than not."""
    scale = float(np.exp(rng.uniform(*np.log(SCALE))))
    size = np.array((width, height)) / scale
    limit = picture.shape[1] - size
    if len(boxes) and rng.uniform() < AT_A_BOX:
        left, top, right, bottom = boxes[int(rng.integers(len(boxes)))]
        middle = np.array((left + right, top + bottom)) / 2
        corner = middle - size * rng.uniform(0.2, 0.8, 2)
    else:
        corner = rng.uniform(0.15, 0.85, 2) * limit
    x, y = np.clip(np.rint(corner), 0, limit).astype(int).tolist()
    w, h = np.rint(size).astype(int).tolist()
    cut = cv2.resize(np.ascontiguousarray(picture[:, y : y + h, x : x + w].transpose(1, 2, 0)), (width, height))
    part = np.ascontiguousarray(cut.transpose(2, 0, 1)).astype(np.uint8, copy=False)
    moved = (boxes - np.array((x, y, x, y))) * np.array((width / w, height / h) * 2)
    clipped = np.clip(moved, 0, (width, height) * 2)
    area = (moved[:, 2:] - moved[:, :2]).prod(axis=1)
    left_over = (clipped[:, 2:] - clipped[:, :2]).prod(axis=1)
    kept = left_over >= SMALLEST_PART * area
    for left, top, right, bottom in clipped[~kept & (left_over > 0)].astype(int):
        part[:, top : bottom + 1, left : right + 1] = GREY_LEVEL
    return part, clipped[kept].astype(np.float32)


def _contrast(picture: Pixels, rng: np.random.Generator) -> NDArray[np.float32]:
    """Grey levels as 0-1, with other contrast and noise."""
    values = picture.astype(np.float32) * np.float32(rng.uniform(*CONTRAST) / 255.0)
    values += np.float32(rng.uniform(-BRIGHTNESS, BRIGHTNESS))
    values += rng.standard_normal(values.shape, np.float32) * np.float32(rng.uniform(0, NOISE))
    return np.asarray(np.clip(values, 0, 1), np.float32)
