"""Backbones are compared on the same pictures, in the same place, and told apart by what they learnt."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from dicom_node.__main__ import main
from inference.models.pe_classifier import INPUT_PX, centre_crop
from inference.training import backbones
from inference.training.angiograms import RUN, Angiograms
from inference.training.backbones import BACKBONES, BackboneTask, SmallPictures

FIELD_PX = 416


@pytest.fixture(scope="module")
def angiograms() -> Angiograms:
    """Two runs of smooth pictures; in the second a dark square that its boxes outline."""
    noise = np.random.default_rng(1).uniform(60, 250, (2, RUN, 26, 26)).astype(np.float32)
    grey = np.stack([[cv2.resize(one, (FIELD_PX, FIELD_PX)) for one in run] for run in noise]).astype(np.uint8)
    grey[1, :, 200:280, 180:300] = 20
    square = np.array([[180, 200, 300, 280]], np.float32)
    none = np.zeros((0, 4), np.float32)
    return Angiograms(grey=grey, boxes=((none,) * RUN, (square,) * RUN))


def test_what_is_seen_unmoved_is_the_classifiers_crop(angiograms: Angiograms) -> None:
    small = SmallPictures.of(angiograms, size_px=INPUT_PX // 2)
    seen = small.seen(np.array([5]), torch.eye(2, 3)[None])[0].numpy()
    crop = centre_crop(angiograms.picture(1, 2).transpose(1, 2, 0))
    expected = cv2.resize(crop, (INPUT_PX // 2,) * 2, interpolation=cv2.INTER_AREA).transpose(2, 0, 1) / 255
    assert np.abs(seen[:3] - expected).mean() < 0.01
    rows, columns = np.nonzero(seen[3] > 0.5)
    scale = INPUT_PX / 2 / 320
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert found == pytest.approx([(edge - 48) * scale for edge in (180, 200, 300, 280)], abs=1)
    assert small.present.tolist() == [False] * 4 + [True] * 4


def test_every_backbone_gets_the_same_batches_and_learns(angiograms: Angiograms) -> None:
    small = SmallPictures.of(angiograms, size_px=32)
    task = BackboneTask(BACKBONES[0], small, small)
    torch.manual_seed(1)
    network = task.network().train()
    network.dropout.p = 0.0
    assert torch.equal(task.loss(network, 3), task.loss(network, 3))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for step in range(8):
        loss = task.loss(network, step)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    with pytest.raises(TypeError, match="one head"):
        task.loss(torch.nn.Identity(), 0)


def compared(out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", "compare", "pe_classifier", "--out", str(out), *arguments])


def test_the_command_trains_measures_and_goes_on(
    angiograms: Angiograms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two small ones, on pictures at hand: growing phantoms of every training seed takes minutes."""
    monkeypatch.setattr(backbones, "BACKBONES", BACKBONES[:2])
    monkeypatch.setattr(backbones, "kept_angiograms", lambda seeds, file: angiograms)
    monkeypatch.setattr(backbones, "TIMED_RUNS", 1)
    monkeypatch.setattr(backbones, "BATCH", 4)
    refused = compared(tmp_path, "--steps", "1", "--size", "40")
    assert refused.exit_code == 2
    assert "multiple of 32" in refused.output
    first = compared(tmp_path, "--steps", "1", "--size", "32")
    assert first.exit_code == 0, first.output
    table = json.loads((tmp_path / "comparison.json").read_text())
    assert {row["name"] for row in table} == {backbone.name for backbone in BACKBONES[:2]}
    assert [row["roc_area"] for row in table] == sorted((row["roc_area"] for row in table), reverse=True)
    assert all(row["parameters"] > 3e6 and row["slice_ms"] > 0 and row["slices"] == 8 for row in table)
    weights = {one.name: (tmp_path / one.name / "best.pt").stat().st_mtime_ns for one in BACKBONES[:2]}
    again = compared(tmp_path, "--steps", "1", "--size", "32")
    assert again.exit_code == 0, again.output
    assert weights == {one.name: (tmp_path / one.name / "best.pt").stat().st_mtime_ns for one in BACKBONES[:2]}
    resumed = json.loads((tmp_path / "comparison.json").read_text())
    trained_s = {row["name"]: row["training_s"] for row in table}
    assert {row["name"]: row["training_s"] for row in resumed} == trained_s
    other = compared(tmp_path, "--steps", "2", "--size", "32")
    assert other.exit_code == 2
    assert "another recipe or pace" in other.output
