"""YOLOv4 is the authors' network; its boxes are where they should be; Darknet's files are read."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inference.networks.darknet_weights import load_darknet, save_darknet
from inference.networks.yolov4 import Size, YoloV4
from inference.networks.yolov4_boxes import decode, pairwise_iou, suppressed

ANCHORS = tuple(tuple((8.0 * scale, 12.0 * scale) for _ in range(3)) for scale in (1, 2, 4))
SMALL = Size(width=0.125, depth=0.2)
AUTHORS_FILE_BYTES = 257_717_640
"""Of ``yolov4.weights`` (80 classes) as the authors published it."""


def test_full_size_has_the_convolutions_and_the_weights_of_the_authors() -> None:
    with torch.device("meta"):
        network = YoloV4(Size(), classes=80)
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 110
    values = sum(one.numel() for one in network.parameters())
    values += sum(one.numel() for name, one in network.named_buffers() if "running" in name)
    assert 20 + 4 * values == AUTHORS_FILE_BYTES


def test_three_scales_come_out() -> None:
    outputs = YoloV4(SMALL).eval()(torch.zeros(2, 3, 64, 96))
    assert [tuple(output.shape) for output in outputs] == [(2, 18, 8, 12), (2, 18, 4, 6), (2, 18, 2, 3)]


def test_a_prediction_becomes_a_box_at_its_cell() -> None:
    outputs = [torch.zeros(1, 18, 8 // step, 8 // step) for step in (1, 2, 4)]
    outputs[1][0, 6 + 4, 2, 1] = 5.0  # second anchor of the middle head, row 2, column 1: sure
    boxes, odds = decode(outputs, ANCHORS)
    position = int(odds[0, :, 0].argmax())
    # The middle of the cell is at stride 16; zeros mean the middle of the cell and the size of the anchor.
    assert boxes[0, position].tolist() == pytest.approx([24 - 8, 40 - 12, 24 + 8, 40 + 12], abs=1e-4)
    assert boxes.shape == (1, 3 * (64 + 16 + 4), 4)


def greedy(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> list[int]:
    """The usual non-maximum suppression, with loops."""
    kept: list[int] = []
    ious = pairwise_iou(torch.from_numpy(boxes)[None])[0].numpy()
    for index in np.argsort(-scores):
        if all(ious[index, other] <= overlap for other in kept):
            kept.append(int(index))
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_the_suppression_is_the_greedy_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 40, (40, 2))], axis=1).astype(np.float32)
    scores = rng.uniform(0.1, 1, 40).astype(np.float32)
    expected = greedy(boxes, scores, 0.3)
    found = suppressed(
        torch.from_numpy(boxes)[None], torch.from_numpy(scores)[None], candidates=40, kept=20, overlap=0.3
    )[0].numpy()
    assert found[: len(expected), 4] == pytest.approx(scores[expected])
    assert found[: len(expected), :4] == pytest.approx(boxes[expected])
    assert not found[len(expected) :].any()


def test_weights_go_through_a_darknet_file_and_back(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first, second = YoloV4(SMALL), YoloV4(SMALL)
    for module in first.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    save_darknet(first, tmp_path / "w.weights", seen=7)
    load_darknet(second, tmp_path / "w.weights")
    picture = torch.rand(1, 3, 64, 64)
    for one, other in zip(first.eval()(picture), second.eval()(picture), strict=True):
        assert torch.equal(one, other)


def test_values_stand_in_darknets_order(tmp_path: Path) -> None:
    """Written by hand as the format says: bias, scale, mean, variance, weights; an old header counts with 32 bits."""
    network = YoloV4(SMALL)
    save_darknet(network, tmp_path / "new.weights")
    content = (tmp_path / "new.weights").read_bytes()
    assert struct.unpack_from("<3iq", content) == (0, 2, 5, 0)
    values = np.frombuffer(content, "<f4", offset=20).copy()
    values[:32] = np.repeat((1, 2, 3, 4), 8)  # the stem has 8 channels
    values[32 + 5] = 9
    (tmp_path / "old.weights").write_bytes(struct.pack("<4i", 0, 1, 0, 0) + values.tobytes())
    load_darknet(network, tmp_path / "old.weights")
    stem = network.stem
    assert (stem.normalisation.bias == 1).all()
    assert (stem.normalisation.weight == 2).all()
    assert stem.normalisation.running_mean is not None
    assert (stem.normalisation.running_mean == 3).all()
    assert stem.convolution.weight.flatten()[5] == 9


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    save_darknet(YoloV4(SMALL), tmp_path / "w.weights")
    with pytest.raises(ValueError, match="another size, number of classes"):
        load_darknet(YoloV4(SMALL, classes=2), tmp_path / "w.weights")
    (tmp_path / "short.weights").write_bytes(b"123")
    with pytest.raises(ValueError, match="too short"):
        load_darknet(YoloV4(SMALL), tmp_path / "short.weights")
