"""The embolism recipes learn, go on after a kill, and export what they learnt; seeds never meet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from inference.models.pe_classifier import SPEC as CLASSIFIER
from inference.models.pe_classifier import PeClassifier
from inference.models.pe_detector import SPEC as DETECTOR
from inference.networks.mobilenet_v2 import MobileNetV2
from inference.networks.yolov4 import STRIDES, Size, YoloV4
from inference.training.angiograms import (
    RUN,
    RUNS,
    TEST_SEEDS,
    TRAINING_SEEDS,
    VALIDATION_SEEDS,
    Angiograms,
    grown_angiograms,
    kept_angiograms,
)
from inference.training.detection_batches import CROP_PX, DetectionBatches
from inference.training.detection_loss import complete_iou, detection_loss
from inference.training.embolism_export import ServedClassifier, ServedDetector, export_embolism_model
from inference.training.embolism_trainer import EmbolismPace, train_embolism_model
from inference.training.recipes.pe_classifier import ClassifierRecipe, ClassifierTask
from inference.training.recipes.pe_detector import ANCHORS, DetectorRecipe, DetectorTask
from inference.training.slice_pool import SlicePool
from inference.training.tflite_weights import constant_tensors, load_imagenet

TINY = Size(width=0.05, depth=0.1)


@pytest.fixture(scope="module")
def angiograms() -> Angiograms:
    """Three patients, small, one of whom is sure to have clots in view."""
    return grown_angiograms(TRAINING_SEEDS[:3], size_px=128)


def test_the_seeds_of_training_validation_and_test_never_meet() -> None:
    ranges = (TRAINING_SEEDS, VALIDATION_SEEDS, TEST_SEEDS, range(1000))
    for index, one in enumerate(ranges):
        for other in ranges[index + 1 :]:
            assert one.stop <= other.start or other.stop <= one.start


def test_material_is_kept_as_it_was_grown(angiograms: Angiograms, tmp_path: Path) -> None:
    assert angiograms.grey.shape == (3 * RUNS, RUN, 416, 416)
    assert any(len(boxes) for run in angiograms.boxes for boxes in run)
    file = tmp_path / "kept.npz"
    first = kept_angiograms(TRAINING_SEEDS[:1], file)
    again = kept_angiograms((), file)
    assert np.array_equal(first.grey, again.grey)
    for one, other in zip(first.boxes, again.boxes, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_boxes_frame_what_differs_from_the_artery(angiograms: Angiograms) -> None:
    """Inside of a box there are grey levels of a clot (40-110 HU: 76-99), whatever was moved and scaled."""
    for run, at in angiograms.centres().tolist():
        for left, top, right, bottom in angiograms.boxes[run][at].astype(int):
            inside = angiograms.grey[run, at, max(top, 0) : bottom + 1, max(left, 0) : right + 1]
            assert inside.size == 0 or ((inside > 60) & (inside < 125)).mean() > 0.1


def test_batches_depend_on_the_step_alone_and_hold_boxes_inside(angiograms: Angiograms) -> None:
    first, again = (DetectionBatches(SlicePool(angiograms), seed=3).draw(5) for _ in range(2))
    assert torch.equal(first.pictures, again.pictures)
    assert first.pictures.shape[1:] == (3, CROP_PX, CROP_PX)
    assert sum(map(len, first.truth))
    for boxes in first.truth:
        assert bool((boxes >= 0).all() and (boxes <= CROP_PX).all() and (boxes[:, 2:] > boxes[:, :2]).all())


def test_complete_iou_is_one_for_equal_boxes_and_falls_with_distance() -> None:
    box = torch.tensor([[10.0, 10, 20, 30]])
    values = [float(complete_iou(box + torch.tensor([shift, 0, shift, 0]), box)) for shift in (0.0, 4, 40, 80)]
    assert values[0] == pytest.approx(1, abs=1e-4)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0


def test_the_loss_teaches_a_network_one_picture() -> None:
    torch.manual_seed(0)
    network = YoloV4(TINY)
    picture = torch.full((1, 3, 64, 64), 0.8)
    picture[:, :, 20:34, 30:44] = 0.2
    truth = [torch.tensor([[30.0, 20, 44, 34]])]
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = detection_loss(network(picture), truth, ANCHORS)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    without = detection_loss(network(picture), [torch.zeros(0, 4)], ANCHORS)
    assert torch.isfinite(without)


def pace(steps: int) -> EmbolismPace:
    return EmbolismPace(steps=steps, learning_rate=1e-3, weight_decay=0.0, validate_every=2)


def test_a_killed_training_ends_with_the_same_weights(angiograms: Angiograms, tmp_path: Path) -> None:
    recipe = DetectorRecipe(size=TINY, pace=pace(4))
    task = DetectorTask(recipe, SlicePool(angiograms), angiograms)
    whole = train_embolism_model(task, recipe.pace, seed=1, out=tmp_path / "whole", progress=False)

    class Killed(DetectorTask):
        def loss(self, network: torch.nn.Module, step: int) -> torch.Tensor:
            if step == 3:
                raise KeyboardInterrupt
            return super().loss(network, step)

    with pytest.raises(KeyboardInterrupt):
        train_embolism_model(
            Killed(recipe, SlicePool(angiograms), angiograms), recipe.pace, seed=1, out=tmp_path / "cut", progress=False
        )
    resumed = train_embolism_model(task, recipe.pace, seed=1, out=tmp_path / "cut", resume=True, progress=False)
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="another recipe or pace"):
        train_embolism_model(task, pace(6), seed=1, out=tmp_path / "cut", resume=True, progress=False)


@pytest.mark.filterwarnings("default")  # torch's exporter warns of its own deprecations
def test_the_classifier_takes_a_step_and_is_exported_as_it_is(angiograms: Angiograms, tmp_path: Path) -> None:
    recipe = ClassifierRecipe(pace=pace(2))
    task = ClassifierTask(recipe, SlicePool(angiograms), angiograms, imagenet=None)
    network = train_embolism_model(task, recipe.pace, seed=1, out=tmp_path, progress=False)
    served = ServedClassifier(network.eval())
    given = PeClassifier().prepare(np.stack([angiograms.picture(0, 1), angiograms.picture(2, 3)]))["slices"]
    _same_graph(served, CLASSIFIER.name, given, tmp_path, 1e-5)


class Heads(torch.nn.Module):
    """Raw predictions that differ from cell to cell, as an untrained network's do not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.heads = torch.nn.ModuleList(torch.nn.Conv2d(3, 18, 1) for _ in STRIDES)
        for head in self.heads:
            torch.nn.init.normal_(head.get_parameter("weight"), std=2.0)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(
            head(torch.nn.functional.avg_pool2d(pictures, stride))
            for head, stride in zip(self.heads, STRIDES, strict=True)
        )


@pytest.mark.filterwarnings("default")  # torch's exporter warns of its own deprecations
def test_boxes_are_exported_as_they_are(tmp_path: Path) -> None:
    blobs = torch.rand(3, 3, 26, 26, generator=torch.Generator().manual_seed(1)) * 255
    given = torch.nn.functional.interpolate(blobs, size=DETECTOR.inputs[0].shape[1:], mode="bilinear")
    _same_graph(ServedDetector(Heads(), ANCHORS), DETECTOR.name, given.to(torch.uint8).numpy(), tmp_path, 0.05)


def _same_graph(served: torch.nn.Module, name: str, given: np.ndarray, folder: Path, tolerance: float) -> None:
    spec = {one.name: one for one in (DETECTOR, CLASSIFIER)}[name]
    export_embolism_model(served, spec=spec, target=folder / "model.onnx")
    (found,) = onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"slices": given})
    with torch.inference_mode():
        expected = served(torch.from_numpy(given)).numpy()
    assert found.dtype == np.float32
    assert found.shape == (len(given), *spec.outputs[0].shape)
    scores: Sequence[int] = (-1,)
    assert found[..., scores] == pytest.approx(expected[..., scores], abs=1e-3)
    close = np.isclose(found, expected, atol=tolerance, rtol=1e-3)
    assert close.mean() > 0.9  # boxes of equal score may change places


@pytest.mark.real_data
def test_imagenet_weights_are_dequantised_into_every_layer(shared_data: Path) -> None:
    file = shared_data / "weights" / "mobilenet_v2" / "mobilenet_v2_1.0_224_quant.tflite"
    network = MobileNetV2()
    before = [parameter.detach().clone() for parameter in network.features.parameters()]
    load_imagenet(network, file)
    assert all(not torch.equal(old, new) for old, new in zip(before, network.features.parameters(), strict=True))
    tensors = dict(constant_tensors(file))
    name = next(name for name in tensors if name.startswith("MobilenetV2/Conv/") and "weights_quant" in name)
    stem = network.features.state_dict()["0.convolution.weight"].numpy()
    assert np.array_equal(stem, tensors[name].transpose(0, 3, 1, 2))
    assert 0.01 < np.abs(stem).mean() < 1
    with torch.inference_mode():
        features = network.features.eval()(torch.rand(1, 3, 224, 224) * 2 - 1)
    assert 0.05 < float(features.mean()) < 1


def test_another_file_is_no_tflite_model(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345678")
    with pytest.raises(ValueError, match="no TensorFlow Lite model"):
        load_imagenet(MobileNetV2(), tmp_path / "x")
    (tmp_path / "y").write_bytes(struct_header() + b"\xff" * 4)
    with pytest.raises(ValueError, match="damaged"):
        load_imagenet(MobileNetV2(), tmp_path / "y")


def struct_header() -> bytes:
    return b"\x10\x00\x00\x00TFL3"
