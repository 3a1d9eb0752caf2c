"""A training run of seconds: it learns, repeats itself, and exports what it learned."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from inference.engines.embedded import EmbeddedEngine
from inference.models import LungsUnet
from inference.networks.unet import UNet2d
from inference.training.augmentation import augment
from inference.training.evaluation import mark
from inference.training.export import export_onnx
from inference.training.pictures import Pictures, mirrored_normals, phantom_pictures
from inference.training.recipes import RECIPES, Cycle, Recipe
from inference.training.trainer import Material, segmentation_loss, train

RECIPE = Recipe(
    model="lungs_unet",
    widths=(8, 16),
    cycles=(Cycle(steps=60, learning_rate=1e-2), Cycle(steps=10, mirrored_share=0.25, average=True)),
    batch=4,
    validate_every=30,
)


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
    return Pictures(grey=grey.clip(0, 255).astype(np.uint8), palette=masks.astype(np.uint8))


def run(out: Path) -> UNet2d:
    pictures = discs(24, 64, seed=1)
    material = Material(real=pictures, phantoms=pictures, validation=discs(8, 64, seed=2))
    return train(RECIPE, material, out=out, progress=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[UNet2d, Path]:
    out = tmp_path_factory.mktemp("training")
    return run(out), out


def test_training_learns_and_keeps_the_best(trained: tuple[UNet2d, Path]) -> None:
    network, out = trained
    held_back = discs(8, 64, seed=3)
    grey = torch.from_numpy(held_back.grey[:, None] / np.float32(255))
    target = torch.from_numpy(held_back.palette[:, None].astype(np.float32))
    with torch.inference_mode():
        loss = segmentation_loss(network(grey), target).item()
        nothing = segmentation_loss(torch.zeros_like(target), target).item()
    assert loss < 0.5 * nothing
    dices = [float(line.split(",")[4]) for line in (out / "curve.csv").read_text().splitlines()[1:]]
    assert len(dices) == 3
    assert max(dices) > 0.8


def test_the_same_seed_gives_the_same_weights(trained: tuple[UNet2d, Path], tmp_path: Path) -> None:
    again = run(tmp_path)
    for name, weights in trained[0].state_dict().items():
        assert torch.allclose(weights, again.state_dict()[name], atol=1e-4), name


@pytest.mark.filterwarnings("default")  # torch's exporter warns of its own deprecations
def test_the_graph_equals_the_network(trained: tuple[UNet2d, Path], tmp_path: Path) -> None:
    model = LungsUnet()
    target = tmp_path / "lungs_unet" / "1" / "model.onnx"
    served = export_onnx(trained[0], threshold=0.4, spec=model.spec, target=target)
    pictures = discs(5, 256, seed=4)
    with torch.inference_mode():
        expected = served(torch.from_numpy(pictures.grey[:, None].astype(np.float16))).numpy()
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    (labels,) = session.run(None, {"slices": pictures.grey[:, None].astype(np.float16)})
    assert 0.02 < expected.mean() < 0.98
    assert np.mean(labels != expected) <= 1e-4
    served_labels = mark(model, EmbeddedEngine(repository=tmp_path, threads=1), pictures)  # bfloat16 where it can
    assert np.mean(served_labels != expected) <= 1e-3


def test_augmentation_keeps_mask_and_picture_together() -> None:
    pictures = discs(6, 64, seed=5)
    grey = torch.from_numpy(pictures.grey[:, None] / np.float32(255))
    target = torch.from_numpy(pictures.palette[:, None].astype(np.float32))
    changed, changed_target = augment(grey, target, torch.Generator().manual_seed(0))
    assert changed.shape == grey.shape
    assert changed.min() >= 0.0
    assert changed.max() <= 1.0
    assert set(changed_target.flatten().tolist()) <= {0.0, 1.0}
    for one, mask in zip(changed[:, 0], changed_target[:, 0], strict=True):
        inside = torch.nn.functional.max_pool2d(mask[None, None], 5, stride=1, padding=2)[0, 0]
        assert one[mask > 0].mean() < one[(inside == 0) & (one > 0)].mean()  # discs stay the dark part
    assert not torch.equal(target, changed_target)


def test_phantom_pictures_hold_lungs_with_and_without_lesions() -> None:
    pictures = phantom_pictures(seeds=(0, 1), slices=6)
    assert pictures.grey.shape == pictures.palette.shape == (12, 256, 256)
    assert (pictures.palette[:6] == 2).any()
    assert not (pictures.palette[6:] >= 2).any()
    assert pictures.target("lungs_unet").sum() > pictures.target("infection_unet").sum()


def test_mirrored_pictures_keep_the_half_without_lesions() -> None:
    grey, palette = np.zeros((2, 1, 256, 256), np.uint8)
    grey[0] = np.arange(256)
    palette[0, 60:160, 40:110] = 1  # picture's left half: healthy
    palette[0, 60:160, 150:220] = 2
    mirrored = mirrored_normals(Pictures(grey=grey, palette=palette))
    assert len(mirrored.grey) == 1
    assert np.array_equal(mirrored.palette[0, :, 150:220], np.where(palette[0, :, 40:110], 1, 0))
    assert np.array_equal(mirrored.grey[0, :, 130:226], grey[0, :, 34:130][:, ::-1])
    palette[0, 60:160, 40:110] = 2
    assert len(mirrored_normals(Pictures(grey=grey, palette=palette)).grey) == 0


def test_recipes_are_for_the_shipped_models() -> None:
    from inference.models import MODELS

    assert set(RECIPES) == {model.spec.name for model in MODELS}
    assert all(min(recipe.phantom_seeds) >= 1000 for recipe in RECIPES.values())  # others are for tests and demo
