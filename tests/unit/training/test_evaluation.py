"""Figures on cases whose overlap is known beforehand, through the engine that serves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.engines.embedded import EmbeddedEngine
from inference.models import LungsUnet
from inference.models.slice_unet import SliceUnet
from inference.training.cases import Case
from inference.training.evaluation import evaluate, mark
from tests.unit.training.threshold_graphs import (
    INFECTION,
    INFECTION_IN_LUNGS,
    write_patient,
    write_pictures,
    write_threshold_model,
)

INFECTION_MODEL = SliceUnet(INFECTION)
IN_LUNGS = SliceUnet(INFECTION_IN_LUNGS)


class Volumes:
    """A reader of cases that lie in no file."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def recognises(self, folder: Path) -> bool:
        return True

    def read(self, folder: Path) -> Case:
        return self.case


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_patient(tmp_path / "data" / "half", bright_rows=50)
    write_patient(tmp_path / "data" / "whole", bright_rows=100)
    return tmp_path / "data"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "models"


def engine_of(repository: Path) -> EmbeddedEngine:
    return EmbeddedEngine(repository=repository, threads=1)


def test_known_overlaps_are_reproduced(data: Path, repository: Path) -> None:
    write_threshold_model(repository, INFECTION)
    figures = evaluate(INFECTION_MODEL, engine_of(repository), data)
    half, whole = figures["patients"]["half"], figures["patients"]["whole"]
    wrong = 50 / 256
    assert half == pytest.approx(
        {
            "dice": 2 / 3,
            "iou": 0.5,
            "miou": (0.5 + 156 / 206) / 2,
            "precision": 1.0,
            "recall": 0.5,
            "accuracy": 1 - wrong,
            "smoothed_jaccard": 1 - wrong * 2 / 102,
            "pictures": 2,
        }
    )
    assert whole["dice"] == 1.0
    assert figures["pooled"]["recall"] == pytest.approx(0.75)
    assert figures["data_set"] == "data"


def test_means_are_of_patients_with_intervals(data: Path, repository: Path) -> None:
    write_threshold_model(repository, INFECTION)
    mean = evaluate(INFECTION_MODEL, engine_of(repository), data)["mean_per_patient"]
    for figure, half in (("dice", 2 / 3), ("iou", 0.5), ("precision", 1.0), ("recall", 0.5)):
        assert mean[figure] == pytest.approx((half + 1) / 2)
        low, high = mean[f"{figure}_95"]
        assert half <= low <= mean[figure] <= high <= 1.0


def test_lung_includes_the_lesions_in_it(data: Path, repository: Path) -> None:
    write_threshold_model(repository, LungsUnet().spec)
    figures = evaluate(LungsUnet(), engine_of(repository), data, cases=("whole",))
    assert list(figures["patients"]) == ["whole"]
    assert figures["patients"]["whole"]["recall"] == pytest.approx(0.5)


def test_a_model_that_looks_into_lungs_gets_those_of_the_lung_model(tmp_path: Path, repository: Path) -> None:
    grey = np.full((256, 256), 50, np.uint8)
    grey[:80], grey[220:] = 200, 150  # "lung" to the first model; bright outside of it
    write_pictures(tmp_path / "data" / "p", grey)
    write_threshold_model(repository, LungsUnet().spec, 180.0)
    graph = write_threshold_model(repository, INFECTION_IN_LUNGS, probability=True)
    engine = engine_of(repository)
    figures = evaluate(IN_LUNGS, engine, tmp_path / "data", graph=graph)
    assert figures["average_precision"] > 0.8
    assert (figures["pooled"]["precision"], figures["pooled"]["recall"]) == pytest.approx((1.0, 0.8))

    class Pictures:
        grey: NDArray[np.uint8]

    pictures = Pictures()
    pictures.grey = grey[None]
    assert np.flatnonzero(mark(IN_LUNGS, engine, pictures).any(axis=(0, 2))).tolist() == list(range(80))


def test_hounsfield_units_are_compared_on_their_own_grid(tmp_path: Path, repository: Path) -> None:
    slices = np.full((2, 384, 512), -1000, np.int16)
    slices[:, 96:192, 128:256] = 1000
    palette = np.where(slices > 0, 2, 0).astype(np.uint8)
    palette[1] = 0  # half of what is found is false
    (tmp_path / "data" / "p").mkdir(parents=True)
    graph = write_threshold_model(repository, INFECTION, 100.0, probability=True)
    readers = (Volumes(Case(name="p", slices=slices, palette=palette)),)
    figures = evaluate(INFECTION_MODEL, engine_of(repository), tmp_path / "data", readers=readers, graph=graph)
    pooled = figures["pooled"]
    assert pooled["precision"] == pytest.approx(0.5, abs=0.02)
    assert pooled["recall"] == pytest.approx(1.0, abs=0.02)  # 49152 pixels; edges and corners are rounded
    assert pooled["accuracy"] == pytest.approx(1 - 96 * 128 / (2 * 384 * 512), abs=0.002)
    assert figures["average_precision"] == pytest.approx(0.5, abs=0.03)


def test_average_precision_comes_from_the_graph(tmp_path: Path, repository: Path) -> None:
    grey = np.full((256, 256), 20, np.uint8)
    grey[:60], grey[60:100], grey[100:180] = 200, 120, 160  # lesion, lesion, not lesion
    write_pictures(tmp_path / "data" / "p", grey, pictures=5)
    graph = write_threshold_model(repository, INFECTION, 140.0, probability=True)
    figures = evaluate(INFECTION_MODEL, engine_of(repository), tmp_path / "data", graph=graph)
    expected = 0.6 * 1.0 + 0.4 * 100 / 180
    assert figures["average_precision"] == pytest.approx(expected)
    assert figures["patients"]["p"]["average_precision"] == pytest.approx(expected)
    assert figures["mean_per_patient"]["average_precision"] == pytest.approx(expected)
    at = figures["curve"]["threshold"].index(0.7)
    assert figures["curve"]["precision"][at] == 1.0
    assert figures["curve"]["dice"][at] == pytest.approx(120 / 160)
    assert figures["pooled"]["dice"] == pytest.approx(120 / 240)  # at the graph's own threshold


def test_a_patient_without_lesions_has_no_average_precision(data: Path, repository: Path) -> None:
    write_pictures(data / "healthy", np.full((256, 256), 50, np.uint8), lesion_rows=0)
    graph = write_threshold_model(repository, INFECTION, probability=True)
    figures = evaluate(INFECTION_MODEL, engine_of(repository), data, graph=graph)
    assert figures["patients"]["healthy"]["average_precision"] is None
    assert figures["patients"]["healthy"]["dice"] == 1.0
    others = [figures["patients"][name]["average_precision"] for name in ("half", "whole")]
    assert figures["mean_per_patient"]["average_precision"] == pytest.approx(np.mean(others))


def test_without_probability_the_curve_is_left_out_with_the_reason(data: Path, repository: Path) -> None:
    graph = write_threshold_model(repository, INFECTION)
    other = write_threshold_model(repository, replace(INFECTION, name="other"), probability=True)
    model, engine = INFECTION_MODEL, engine_of(repository)
    for given, reason in (
        (graph, "no probability in this graph"),
        (other, "the graph at hand is not the one that serves"),
        (None, "no graph at hand"),
    ):
        figures = evaluate(model, engine, data, ("whole",), graph=given)
        assert figures["no_curve_because"] == reason
        assert "curve" not in figures
        assert "average_precision" not in figures["patients"]["whole"]


def test_what_cannot_be_measured_is_told(data: Path, repository: Path, tmp_path: Path) -> None:
    write_threshold_model(repository, INFECTION)
    engine = engine_of(repository)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match=r"holds no labelled case \(see"):
        evaluate(INFECTION_MODEL, engine, tmp_path / "nothing")
    with pytest.raises(ValueError, match="holds no labelled case named nobody"):
        evaluate(INFECTION_MODEL, engine, data, ("nobody",))
    liver = SliceUnet(replace(INFECTION, labels=("background", "liver")))
    with pytest.raises(ValueError, match="marks 'liver'; labelled cases know lung, infected region"):
        evaluate(liver, engine, data)
