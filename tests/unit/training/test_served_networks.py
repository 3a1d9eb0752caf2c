"""Networks found again in graphs and checkpoints, and graphs in other precisions: the same answers, or none."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from onnx import TensorProto

from dicom_node.__main__ import main
from inference.engines import output_parity
from inference.models import InfectionUnet, LungsUnet, PeDetector
from inference.networks.unet import UNet2d
from inference.training.export import ServedUnet, exported
from inference.training.precision import Precision, emulated, in_half_precision
from inference.training.recipes import LUNGS_UNET
from inference.training.served_export import as_graph, run_graph
from inference.training.served_networks import rebuilt, run_served, trained

REPOSITORY = Path(__file__).parents[3] / "triton_models"
SPEC = LungsUnet().spec
THRESHOLD = 0.4

# torch's exporter and its dependencies warn of their own deprecations.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def network() -> UNet2d:
    """Of the recipe, with random weights and statistics that matter."""
    torch.manual_seed(3)
    made = UNet2d(LUNGS_UNET.widths, channels_in=LUNGS_UNET.channels)
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 2.0)
    return made.eval()


@pytest.fixture
def slices() -> dict[str, np.ndarray]:
    given = np.random.default_rng(1).integers(0, 256, (2, *SPEC.inputs[0].shape))
    return {SPEC.inputs[0].name: given.astype(np.float16)}


@torch.inference_mode()
def probability(served: torch.nn.Module, slices: dict[str, np.ndarray]) -> np.ndarray:
    assert isinstance(served, ServedUnet)
    return served.probability(torch.from_numpy(slices["slices"]), None).numpy()


def test_a_network_is_found_again_in_its_checkpoint_and_in_its_graph(
    network: UNet2d, slices: dict[str, np.ndarray], tmp_path: Path
) -> None:
    expected = probability(ServedUnet([(LUNGS_UNET, network)], THRESHOLD).eval(), slices)
    assert expected.std() > 1e-4, "weights that matter"
    torch.save(network.state_dict(), tmp_path / "best.pt")
    from_checkpoint = trained(SPEC, [tmp_path / "best.pt"], threshold=THRESHOLD)
    assert np.abs(probability(from_checkpoint, slices) - expected).max() < 1e-5
    graph = as_graph(from_checkpoint, SPEC, Precision.FP32, calibration=[]).SerializeToString()
    again = rebuilt(SPEC, graph)
    assert again.threshold == pytest.approx(THRESHOLD)
    assert np.abs(probability(again, slices) - expected).max() < 1e-3, "the graph's weights are rounded"


@pytest.mark.parametrize("wrong", [InfectionUnet(), PeDetector()])
def test_a_graph_of_another_network_is_refused(wrong: InfectionUnet | PeDetector) -> None:
    graph = REPOSITORY / SPEC.name / SPEC.version / "model.onnx"
    with pytest.raises(ValueError, match=r"the graph has no layer|unpack"):
        rebuilt(wrong.spec, graph.read_bytes())


def test_what_is_no_checkpoint_is_refused(network: UNet2d, tmp_path: Path) -> None:
    file = tmp_path / "best.pt"
    file.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="is no checkpoint of lungs_unet"):
        trained(SPEC, [file], threshold=THRESHOLD)
    torch.save(network.state_dict(), file)
    with pytest.raises(ValueError, match="3 networks"):
        trained(InfectionUnet().spec, [file], threshold=THRESHOLD)
    with pytest.raises(ValueError, match="a threshold goes with"):
        trained(SPEC, [file], threshold=None)


def test_a_graph_that_hangs_on_its_data_is_refused() -> None:
    class Counting(torch.nn.Module):
        def forward(self, slices: torch.Tensor) -> torch.Tensor:
            return torch.nonzero(slices).to(torch.uint8)

    with pytest.raises(ValueError, match="NonZero"):
        exported(Counting(), SPEC)


def export(out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", "export", *arguments, "--out", str(out)])


def test_half_precision_and_integers_are_exported_where_masks_stay_the_same(tmp_path: Path) -> None:
    for precision, type_of_weights in (("fp16", TensorProto.FLOAT16), ("int8", TensorProto.INT8)):
        done = export(tmp_path / precision, SPEC.name, "--precision", precision)
        assert done.exit_code == 0, done.output
        folder = tmp_path / precision / SPEC.name
        graph = onnx.load(folder / SPEC.version / "model.onnx").graph
        weights = {one.name: one.data_type for one in graph.initializer}
        assert type_of_weights in {of for name, of in weights.items() if "encoder.3" in name and "weight" in name}
        head = [of for name, of in weights.items() if "head" in name]
        assert set(head) == {TensorProto.FLOAT}, "the last layer stays in single precision"
        facts = json.loads((folder / "export.json").read_text())
        assert (facts["precision"], facts["opset"]) == (precision, 20)
        assert all("Dice 0.99" in said or "Dice 1.0" in said for said in facts["parity"])
        assert len(facts["parity"]) == (2 if precision == "fp16" else 1), (
            "half precision is compared with its rounding too"
        )
        assert facts["tensorrt_rtx"], "TensorRT-RTX built it"


def test_nothing_is_written_over(tmp_path: Path) -> None:
    there = tmp_path / SPEC.name / SPEC.version / "model.onnx"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"graph")
    done = export(tmp_path, SPEC.name)
    assert done.exit_code == 2
    assert "is there already" in done.output


def test_nothing_is_written_where_the_limit_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_parity, "SMALLEST_DICE_OF_INTEGERS", 1.0)
    done = export(tmp_path / "out", SPEC.name, "--precision", "int8")
    assert done.exit_code == 1
    assert "another model than in float32" in done.output
    assert "(limit 1.0)" in done.output
    assert not (tmp_path / "out").exists()


def test_half_precision_is_computed_in_half_precision(network: UNet2d, slices: dict[str, np.ndarray]) -> None:
    """What it cannot hold must show in the gate, although a processor computes wider."""
    with torch.no_grad():
        network.encoder[0].layers[0].weight.mul_(1e6)
    served = ServedUnet([(LUNGS_UNET, network)], THRESHOLD).eval()
    assert np.isfinite(probability(served, slices)).all()
    assert not np.isfinite(probability(emulated(in_half_precision(served)), slices)).all()


def test_the_shipped_graph_and_its_network_agree(slices: dict[str, np.ndarray]) -> None:
    graph = REPOSITORY / SPEC.name / SPEC.version / "model.onnx"
    found = run_served(rebuilt(SPEC, graph.read_bytes()), SPEC, slices)["labels"]
    assert np.array_equal(found, run_graph(onnx.load(graph), SPEC, slices)["labels"])
