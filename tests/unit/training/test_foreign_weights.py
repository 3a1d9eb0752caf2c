"""``dicom-node models import``: weights of others are kept where a training begins, or refused with the cause."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from dicom_node.__main__ import main
from inference.models.pe_detector import SPEC as DETECTOR
from inference.networks.darknet_weights import save_darknet
from inference.networks.unet import UNet2d
from inference.networks.yolov4 import Size, YoloV4
from inference.training import foreign_weights
from inference.training.embolism_trainer import EmbolismPace, train_embolism_model
from inference.training.foreign_weights import detector_recipe, start_of, training_folder
from inference.training.recipes import LUNGS_UNET, TV_UNET
from inference.training.recipes.pe_detector import PE_DETECTOR, SHIPPED_SIZE
from inference.training.served_networks import trained

OTHER_SIZE = Size(width=0.125, depth=0.2)


def made(out: Path, name: str, file: Path) -> Result:
    return CliRunner().invoke(main, ["models", "import", name, str(file), "--out", str(out)])


def detector(size: Size = SHIPPED_SIZE, *, channels: int = 3, classes: int = 1) -> YoloV4:
    torch.manual_seed(5)
    network = YoloV4(size, channels_in=channels, classes=classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


def darknet_file(folder: Path, network: YoloV4) -> Path:
    save_darknet(network, folder / "theirs.weights", seen=640_000)
    return folder / "theirs.weights"


def kept(out: Path, size: Size = SHIPPED_SIZE) -> YoloV4:
    network = YoloV4(size)
    network.load_state_dict(torch.load(out / "pe_detector-training" / "start.pt", weights_only=True))
    return network.eval()


def same(first: nn.Module, second: nn.Module) -> bool:
    """Every weight and every statistic."""
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_darknet_file_becomes_the_first_weights_of_the_detector(tmp_path: Path) -> None:
    network = detector()
    result = made(tmp_path / "out", "pe_detector", darknet_file(tmp_path, network))
    assert result.exit_code == 0, result.output
    assert "width 0.1875 and depth 0.33, one class, 3 channels" in result.output
    assert same(network, kept(tmp_path / "out"))


def test_one_channel_as_in_the_paper_becomes_the_middle_of_three(tmp_path: Path) -> None:
    network = detector(channels=1)
    result = made(tmp_path / "out", "pe_detector", darknet_file(tmp_path, network))
    assert "sees the slice as it did, and nothing of its neighbours" in result.output
    stem, picture = kept(tmp_path / "out").stem, torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(stem(picture), network.stem(picture[:, 1:2]), atol=1e-6)
        assert not torch.allclose(stem(picture), network.stem(picture[:, :1]), atol=1e-2)


def test_another_size_that_is_known_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As full-size files are, which take 256 MB."""
    monkeypatch.setattr(foreign_weights, "SIZES", (SHIPPED_SIZE, OTHER_SIZE))
    network = detector(OTHER_SIZE)
    result = made(tmp_path / "out", "pe_detector", darknet_file(tmp_path, network))
    assert "width 0.125 and depth 0.2" in result.output
    start = start_of(training_folder("pe_detector", tmp_path / "out"))
    assert start is not None
    assert detector_recipe(start).size == OTHER_SIZE
    assert detector_recipe(None) is PE_DETECTOR
    served = trained(DETECTOR, [start], threshold=None)
    with torch.inference_mode():
        boxes = served(torch.zeros((1, *DETECTOR.inputs[0].shape), dtype=torch.uint8))
    assert boxes.shape == (1, *DETECTOR.outputs[0].shape)
    assert same(network, kept(tmp_path / "out", OTHER_SIZE))


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: detector(classes=80), r"it has 80 classes at width 0\.1875 and depth 0\.33; train it for one class"),
        (lambda: detector(Size(width=0.25, depth=0.33)), "cut off, or of another network or width"),
        (lambda: detector(Size(width=0.1875, depth=0.5)), "cut off, or of another network or width"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_the_cause(tmp_path: Path, network: object, said: str) -> None:
    assert callable(network)
    result = made(tmp_path / "out", "pe_detector", darknet_file(tmp_path, network()))
    assert result.exit_code == 2
    assert re.search(said, result.output.replace("\n", " "))
    assert not (tmp_path / "out").exists()


def damaged(content: bytes, how: str) -> bytes:
    values = np.frombuffer(content, "<f4", offset=20).copy()
    if how == "a layer is missing":
        return content[:-4000]
    if how == "within a value":
        return content[:-3]
    if how == "header alone":
        return content[:20]
    if how == "no number":
        values[-1] = np.nan
    if how == "another order":
        values[:32] = -values[:32] - 1
    return content[:20] + values.tobytes()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("a layer is missing", "it is cut off, or of another network"),
        ("within a value", "ends within a value"),
        ("header alone", "too short"),
        ("no number", "values that are no numbers"),
        ("another order", "negative variances"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, how: str, said: str) -> None:
    file = darknet_file(tmp_path, detector())
    file.write_bytes(damaged(file.read_bytes(), how))
    result = made(tmp_path / "out", "pe_detector", file)
    assert result.exit_code == 2
    assert said in result.output
    assert not (tmp_path / "out").exists()


def test_a_state_dictionary_is_taken_or_its_first_difference_told(tmp_path: Path) -> None:
    network = detector()
    torch.save(network.state_dict(), tmp_path / "theirs.pt")
    assert made(tmp_path / "out", "pe_detector", tmp_path / "theirs.pt").exit_code == 0
    assert same(network, kept(tmp_path / "out"))
    torch.save(detector(classes=2).state_dict(), tmp_path / "two.pt")
    refused = made(tmp_path / "other", "pe_detector", tmp_path / "two.pt")
    assert refused.exit_code == 2
    assert "head_small.predict.weight is (21," in refused.output
    torch.save([1, 2], tmp_path / "list.pt")
    assert "no state dictionary" in made(tmp_path / "other", "pe_detector", tmp_path / "list.pt").output
    (tmp_path / "zip.pt").write_bytes(b"PK\x03\x04" + bytes(100))
    assert "cannot be read by torch" in made(tmp_path / "other", "pe_detector", tmp_path / "zip.pt").output


def test_u_nets_take_state_dictionaries_too(tmp_path: Path) -> None:
    unet = UNet2d(TV_UNET.widths, channels_in=TV_UNET.channels, dropout=TV_UNET.dropout)
    torch.save(unet.state_dict(), tmp_path / "theirs.pt")
    assert made(tmp_path / "tv", "tv_unet", tmp_path / "theirs.pt").exit_code == 0
    assert start_of(tmp_path / "tv") is not None
    assert training_folder(LUNGS_UNET.name, tmp_path) == tmp_path / "lungs_unet"
    three = made(tmp_path / "x", "infection_unet", tmp_path / "theirs.pt")
    assert three.exit_code == 2
    assert "no single network" in three.output
    assert "tv_unet" in three.output
    (tmp_path / "text.pt").write_text("no weights")
    assert "no file of weights" in made(tmp_path / "x", "tv_unet", tmp_path / "text.pt").output


class Still:
    """A task that teaches next to nothing."""

    name, figure = "still", "nothing"

    def network(self) -> nn.Module:
        return YoloV4(SHIPPED_SIZE)

    def loss(self, network: nn.Module, step: int) -> torch.Tensor:
        outputs = network(torch.rand(2, 3, 32, 32))
        return torch.stack([output.mean() for output in outputs]).sum()

    def validate(self, network: nn.Module) -> float:
        return 1.0


def test_training_begins_with_what_was_imported_and_then_refuses_another(tmp_path: Path) -> None:
    network = detector()
    assert made(tmp_path, "pe_detector", darknet_file(tmp_path, network)).exit_code == 0
    folder = training_folder("pe_detector", tmp_path)
    pace = EmbolismPace(steps=1, learning_rate=1e-12, weight_decay=0.0, validate_every=1)
    trained = train_embolism_model(
        Still(), pace, seed=1, out=folder, start=start_of(folder), resume=True, progress=False
    )
    expected = dict(network.named_parameters())
    for name, value in trained.named_parameters():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    again = made(tmp_path, "pe_detector", darknet_file(tmp_path, network))
    assert again.exit_code == 2
    assert "goes on with its own weights" in again.output


def test_an_old_header_is_read(tmp_path: Path) -> None:
    network = detector()
    content = darknet_file(tmp_path, network).read_bytes()
    (tmp_path / "old.weights").write_bytes(struct.pack("<4i", 0, 1, 0, 3) + content[20:])
    assert made(tmp_path / "out", "pe_detector", tmp_path / "old.weights").exit_code == 0
    assert same(network, kept(tmp_path / "out"))
