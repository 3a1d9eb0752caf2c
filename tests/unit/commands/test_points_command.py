"""``dicom-node points`` on a phantom: where its points lie, and that lesions are where the truth has them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dicom_node.__main__ import main
from dicom_node.demonstration.phantom_study import write_phantom_study
from dicom_node.results.points import LARGEST_COUNT, write_points
from inference.volume import Volume


def test_points_lie_where_their_voxels_are(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    mask = np.zeros(array.shape, bool)
    mask[1, 2, 3] = True
    to_patient = np.array([[0.5, 0, 0, -10], [0, 0.7, 0, 20], [0, 0, 2.5, 100], [0, 0, 0, 1]])
    volume = Volume(array_zyx=array, index_to_patient=to_patient, frame_of_reference_uid="1.2.3")
    assert write_points(volume, {"lesion": mask}, tmp_path / "points.csv") == {"lesion": 1}
    rows = list(csv.reader((tmp_path / "points.csv").read_text().splitlines()))
    assert rows == [["x_mm", "y_mm", "z_mm", "hu", "region"], ["-8.5", "21.4", "102.5", "23", "lesion"]]


def test_large_regions_are_thinned(tmp_path: Path) -> None:
    array = np.zeros((4, 400, 400), np.int16)
    volume = Volume(array_zyx=array, index_to_patient=np.eye(4), frame_of_reference_uid="1.2.3")
    counts = write_points(volume, {"lung": array == 0}, tmp_path / "points.csv")
    assert LARGEST_COUNT / 2 < counts["lung"] <= LARGEST_COUNT


@pytest.mark.timeout(120)
def test_a_phantom_becomes_points_with_its_truth(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_phantom_study(study, kind="ct", slices=40, size_px=256, seed=3, normal=False, truth_folder=tmp_path / "truth")
    (truth,) = (tmp_path / "truth").glob("*.dcm")
    out = tmp_path / "points.csv"
    result = CliRunner().invoke(main, ["points", str(study), "--out", str(out), "--reference", str(truth)])
    assert result.exit_code == 0, result.output
    by_region: dict[str, list[list[float]]] = {}
    for row in csv.DictReader(out.read_text().splitlines()):
        by_region.setdefault(row["region"], []).append([float(row[name]) for name in ("x_mm", "y_mm", "z_mm")])
    assert set(by_region) == {"left_lung", "right_lung", "infected_region", "reference_lesion"}
    middles = {region: np.mean(points, axis=0) for region, points in by_region.items()}
    assert middles["left_lung"][0] > middles["right_lung"][0] + 50  # LPS: the patient's left is positive
    assert np.linalg.norm(middles["infected_region"] - middles["reference_lesion"]) < 40
