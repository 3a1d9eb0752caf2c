"""A training run of seconds: it learns, repeats itself, survives a kill, and exports what it learned."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from inference.models import LungsUnet
from inference.models.slice_preparation import INPUT, LUNGS
from inference.networks.unet import UNet2d
from inference.training.export import export_onnx
from inference.training.losses import Loss, segmentation_loss
from inference.training.prediction import log_odds
from inference.training.prepared_pictures import Pictures
from inference.training.recipes import Pace, Recipe, Schedule, Target
from inference.training.trainer import Material, train

RECIPE = Recipe(
    name="discs",
    source="this test",
    target=Target.LUNGS,
    size_px=64,
    widths=(8, 16),
    crop=1.0,
    pace=Pace(schedule=Schedule.ONE_CYCLE, learning_rate=1e-2, steps=60, batch=4, validate_every=20),
    phantom_share=0.25,
    mirrored_share=0.25,
)
AVERAGED = replace(RECIPE, average=True)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """So small a network only loses by threads that wait for each other, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def discs(count: int, size: int, seed: int) -> Pictures:
    """Dark discs on a bright ground: what a lung is to a network that knows nothing yet."""
    random = np.random.default_rng(seed)
    rows, columns = np.ogrid[:size, :size]
    middles = random.uniform(0.3 * size, 0.7 * size, (count, 2))
    masks = np.stack([(rows - y) ** 2 + (columns - x) ** 2 < (0.2 * size) ** 2 for y, x in middles])
    grey = np.where(masks, 60, 180) + random.normal(0, 10, masks.shape)
    return Pictures(
        grey=grey.clip(0, 255).astype(np.uint8),
        palette=masks.astype(np.uint8),
        lungs=masks.astype(np.uint8),
        patient=np.arange(count) % 3,
    )


def material() -> Material:
    pictures = discs(24, 64, seed=1)
    return Material(real=pictures, phantoms=pictures, validation=discs(8, 64, seed=2))


def dices(out: Path) -> list[float]:
    return [float(line.split(",")[4]) for line in (out / "curve.csv").read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[UNet2d, Path]:
    out = tmp_path_factory.mktemp("training")
    return train(RECIPE, material(), out=out, progress=False), out


def test_training_learns_and_keeps_the_best(trained: tuple[UNet2d, Path]) -> None:
    network, out = trained
    held_back = discs(8, 64, seed=3)
    grey = torch.from_numpy(held_back.grey[:, None] / np.float32(255))
    target = torch.from_numpy(held_back.palette[:, None].astype(np.float32))
    with torch.inference_mode():
        loss = segmentation_loss(Loss.CROSS_ENTROPY_AND_DICE, network(grey), target, target).item()
        nothing = segmentation_loss(Loss.CROSS_ENTROPY_AND_DICE, torch.zeros_like(target), target, target).item()
    assert loss < 0.5 * nothing
    assert len(dices(out)) == 3
    assert max(dices(out)) > 0.8
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_weights(trained: tuple[UNet2d, Path], tmp_path: Path) -> None:
    again = train(RECIPE, material(), out=tmp_path, progress=False)
    for name, weights in trained[0].state_dict().items():
        assert torch.allclose(weights, again.state_dict()[name], atol=1e-4), name


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    undisturbed = train(AVERAGED, material(), out=tmp_path / "undisturbed", progress=False)
    out, root = tmp_path / "killed", Path(__file__).parents[3]
    source = (
        f"import sys, torch; sys.path[:0] = [{str(root)!r}, {str(Path(__file__).parent)!r}]; torch.set_num_threads(1)\n"
        "from test_small_training import AVERAGED, material, train\nfrom pathlib import Path\n"
        f"train(AVERAGED, material(), out=Path({str(out)!r}), progress=False)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", source], env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    deadline = time.monotonic() + 120
    while not (out / "last.pt").exists():
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(dices(out)) < 3
    resumed = train(AVERAGED, material(), out=out, resume=True, progress=False)
    assert len(dices(out)) == 3
    for name, weights in undisturbed.state_dict().items():
        assert torch.allclose(weights, resumed.state_dict()[name], atol=1e-4), name


def test_another_recipe_is_not_mixed_in(trained: tuple[UNet2d, Path]) -> None:
    with pytest.raises(ValueError, match="another recipe"):
        train(replace(RECIPE, seed=2), material(), out=trained[1], resume=True, progress=False)


def test_without_gain_the_rate_falls_and_training_ends(tmp_path: Path) -> None:
    pace = Pace(
        schedule=Schedule.PLATEAU,
        learning_rate=1e-30,  # nothing can be learnt at this rate
        steps=50,
        batch=2,
        validate_every=1,
        decay_after=2,
        stop_after=5,
    )
    train(replace(RECIPE, pace=pace, average=False), material(), out=tmp_path, progress=False)
    rates = [float(line.split(",")[2]) for line in (tmp_path / "curve.csv").read_text().splitlines()[1:]]
    assert 6 <= len(rates) < 50
    assert rates[-1] < rates[0] / 50


def test_fine_tuning_begins_with_the_weights_given(trained: tuple[UNet2d, Path], tmp_path: Path) -> None:
    pace = replace(RECIPE.pace, steps=1, learning_rate=1e-9)
    tuned = train(RECIPE.at(pace), material(), out=tmp_path, start=trained[1] / "best.pt", progress=False)
    weights = trained[0].state_dict()
    for name, value in tuned.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            assert torch.allclose(value, weights[name], atol=1e-5), name


@pytest.mark.filterwarnings("default")  # torch's exporter warns of its own deprecations
@pytest.mark.parametrize("lung_channel", [False, True], ids=["slices", "slices and lungs"])
def test_the_graph_equals_the_networks(trained: tuple[UNet2d, Path], lung_channel: bool, tmp_path: Path) -> None:
    """An ensemble of a network of the graph's size and one that enlarges its pictures."""
    recipe, network = replace(RECIPE, lung_channel=lung_channel), trained[0]
    if lung_channel:
        network = train(recipe, material(), out=tmp_path / "in_lungs", progress=False)
    members = [(replace(recipe, size_px=size), network) for size in (256, 320)]
    spec = LungsUnet().spec
    pictures = discs(5, 256, seed=4)
    inputs = {"slices": pictures.grey[:, None].astype(np.float16)}
    if lung_channel:
        spec = replace(spec, inputs=(INPUT, LUNGS))
        inputs["lungs"] = pictures.lungs
    small = [log_odds(network, recipe, enlarged(pictures, recipe.size_px)) for recipe, network in members]
    target = tmp_path / "lungs_unet" / "1" / "model.onnx"
    served = export_onnx(members, threshold=0.4, spec=spec, target=target)
    with torch.inference_mode():
        expected = served(*(torch.from_numpy(one) for one in inputs.values())).numpy()
    assert 0.02 < expected.mean() < 0.98
    marked = np.mean(small, axis=0) > np.log(0.4 / 0.6)
    assert np.mean(expected != marked) < 0.02  # evaluation enlarges with OpenCV
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    (labels,) = session.run(None, inputs)
    assert np.mean(labels != expected) <= 1e-4
    assert any("probability" in node.input for node in onnx.load(target).graph.node)


def enlarged(pictures: Pictures, size: int) -> Pictures:
    index = np.minimum(np.arange(size) * 256 // size, 255)
    return replace(pictures, grey=pictures.grey[:, index][:, :, index], lungs=pictures.lungs[:, index][:, :, index])
