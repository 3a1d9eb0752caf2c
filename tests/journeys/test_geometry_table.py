"""``docs/geometry.md`` is true: its cases, run again through a real node."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.geometry.grids import CASES, Case, Form, Grid, Order
from benchmarks.geometry.phantom import region_mask
from benchmarks.geometry.proof import Row, compare, measure
from benchmarks.geometry.second_opinions import SegmentFrame, corners_mm
from benchmarks.geometry.studies import Study, write_study
from benchmarks.geometry.table import document
from inference.findings import Region
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]
LEAST_SHARE_MARKED = 0.04
"""Of all voxels and regions: a table of empty masks would prove nothing."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return list(measure(tmp_path_factory.mktemp("geometry")))


def test_every_case_holds(rows: list[Row]) -> None:
    assert [row for row in rows if not row.holds] == []
    assert [row.case.name for row in rows] == [case.name for case in CASES]


def test_every_case_marks_something(rows: list[Row]) -> None:
    analysed = [row for row in rows if not row.case.refusal]
    assert min(row.marked_voxels / row.compared_voxels for row in analysed) > LEAST_SHARE_MARKED


def test_the_document_is_the_table(rows: list[Row]) -> None:
    assert (REPOSITORY / "docs" / "geometry.md").read_text(encoding="utf-8") == document(rows)


def test_the_cases_are_those_that_were_asked_for() -> None:
    analysed = [case for case in CASES if not case.refusal]
    assert {case.patient_position for case in analysed} >= {"HFS", "FFS", "HFP", "FFP"}
    assert {case.form for case in analysed} == set(Form)
    assert {case.order for case in analysed} == set(Order)
    assert any(case.grid.spacing_mm[0] != case.grid.spacing_mm[1] for case in analysed)
    assert any(0 < abs(case.grid.orientation[5]) < 1 for case in analysed)
    assert any(case.grid.shape[1] * case.grid.shape[2] % 8 for case in analysed)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    grid = Grid(spacing_mm=(5.2, 3.1), shape=(20, 60, 116))
    return write_study(Case(name="for the comparison", grid=grid), tmp_path / "study")


def right(study: Study) -> list[SegmentFrame]:
    return [
        SegmentFrame(
            label="Left lung",
            mask=region_mask(Region.LEFT_LUNG, frame.hu),
            source=(frame.sop_instance_uid, frame.frame_number),
            corners_mm=corners_mm(frame.plane, frame.hu.shape),
        )
        for frame in study.frames
    ]


def test_one_voxel_beside_the_truth_counts(study: Study) -> None:
    found = right(study)
    before = compare(study, found)
    found[3].mask[0, 0] = True
    assert compare(study, found).wrong_voxels == before.wrong_voxels + 1


def test_a_frame_one_slice_off_its_name_is_misplaced(study: Study) -> None:
    found = right(study)
    assert compare(study, found).misplaced_frames == 0
    found[3] = replace(found[3], source=found[4].source)
    assert compare(study, found).misplaced_frames == 1


def test_a_mirrored_frame_lies_nowhere(study: Study) -> None:
    found = right(study)
    found[3] = replace(found[3], corners_mm=found[3].corners_mm[[1, 0, 3, 2]])
    assert compare(study, found).misplaced_frames == 1


def test_half_a_voxel_is_measured(study: Study) -> None:
    found = [replace(each, corners_mm=each.corners_mm + np.array([1.55, 0, 0])) for each in right(study)]
    assert compare(study, found).farthest_mm == pytest.approx(1.55)
