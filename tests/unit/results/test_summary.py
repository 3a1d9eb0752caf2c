"""The summary picture: right way round, the right slices, and nothing that identifies the patient."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from result_requests import EMBOLI, with_embolism

from dicom_node.results import ResultRequest
from dicom_node.results.key_slices import head_first, key_slices, presentation
from dicom_node.results.part10 import write_part10
from dicom_node.results.picture import BOX, PAGE_PX, TEXT_PAGE_PX, Page, Tile, draw_page
from dicom_node.results.regions import REGIONS
from dicom_node.results.study_header import read_study_header
from dicom_node.results.summary import build_summary
from inference.findings import Presence, Status

MakeRequest = Callable[..., ResultRequest]


def summary(request: ResultRequest, folder: Path) -> Dataset:
    folder.mkdir()
    write_part10(build_summary(request, read_study_header(request)), folder / "summary.dcm")
    return dcmread(folder / "summary.dcm")


def grid(columns: tuple[float, ...], rows: tuple[float, ...]) -> NDArray[np.float64]:
    """The affine of a 4 x 4 x 4 grid around the origin with these directions of columns and rows."""
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = columns, rows
    matrix[:3, 2] = np.cross(matrix[:3, 0], matrix[:3, 1])
    matrix[:3, 3] = -1.5 * matrix[:3, :3].sum(axis=1)
    return matrix


@pytest.mark.parametrize("x", [-1.0, 1.0])
@pytest.mark.parametrize("y", [-1.0, 1.0])
@pytest.mark.parametrize("swapped", [False, True])
def test_axial_slices_show_the_right_on_the_left_and_the_front_on_top(x: float, y: float, swapped: bool) -> None:
    along_x, along_y = (x, 0.1, 0.0), (-0.1, y, 0.1)
    matrix = grid(along_y, along_x) if swapped else grid(along_x, along_y)
    rows, columns = np.mgrid[0:4, 0:4]
    patient = np.einsum("ij,jrc->irc", matrix, np.stack([columns, rows, 0 * rows, 0 * rows + 1]))

    shown = presentation(matrix)

    assert (shown.left_letter, shown.top_letter) == ("R", "A")
    left_right, front_back = shown.apply(patient[0]), shown.apply(patient[1])
    assert (np.diff(left_right, axis=1) > 0).all()
    assert (np.diff(front_back, axis=0) > 0).all()


def test_coronal_slices_show_the_head_on_top() -> None:
    shown = presentation(grid((1, 0, 0), (0, 0, -1)))

    assert (shown.left_letter, shown.top_letter, shown.flip_rows) == ("R", "H", False)


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=200),
    st.lists(st.integers(0, 1000), min_size=1, max_size=200),
    st.integers(1, 8),
)
def test_key_slices_are_distinct_slices_of_the_volume(areas: list[int], lungs: list[int], count: int) -> None:
    length = min(len(areas), len(lungs))

    chosen = key_slices(np.array(areas[:length]), np.array(lungs[:length]), count)

    assert 1 <= len(chosen) <= count
    assert len(set(chosen)) == len(chosen)
    assert all(0 <= k < length for k in chosen)


def test_key_slices_hold_the_largest_lesion_and_spread() -> None:
    areas = np.zeros(120, dtype=int)
    areas[20:100] = 10
    areas[57] = 500

    chosen = key_slices(areas, np.ones(120, dtype=int), 6)

    assert 57 in chosen
    assert len(chosen) == 6
    assert max(chosen) - min(chosen) > 50
    assert all(areas[k] for k in chosen)


def test_without_lesions_the_lungs_are_shown_evenly() -> None:
    lungs = np.zeros(100, dtype=int)
    lungs[10:90] = 5

    chosen = sorted(key_slices(np.zeros(100, dtype=int), lungs, 6))

    assert len(chosen) == 6
    assert (np.diff(chosen) > 10).all()
    assert min(chosen) >= 10
    assert max(chosen) < 90


def test_slices_run_from_head_to_feet() -> None:
    up, down = np.diag([1.0, 1, 1, 1]), np.diag([1.0, 1, -1, 1])

    assert head_first([1, 5, 3], up) == [5, 3, 1]
    assert head_first([1, 5, 3], down) == [1, 3, 5]


@given(st.booleans(), st.booleans(), st.booleans(), st.integers(0, 5), st.integers(0, 8))
def test_a_box_turns_with_its_slice(transpose: bool, columns: bool, rows: bool, left: int, top: int) -> None:
    shown = replace(presentation(np.eye(4)), transpose=transpose, flip_columns=columns, flip_rows=rows)
    plane = np.zeros((12, 9), dtype=bool)
    plane[top : top + 3, left : left + 2] = True

    x0, y0, x1, y1 = map(int, shown.apply_to_box((left, top, left + 2, top + 3), plane.shape))

    expected = np.zeros_like(shown.apply(plane))
    expected[y0:y1, x0:x1] = True
    np.testing.assert_array_equal(shown.apply(plane), expected)


@pytest.mark.parametrize("status", Status)
def test_it_is_one_rgb_page(make_request: MakeRequest, tmp_path: Path, status: Status) -> None:
    data_set = summary(make_request(status), tmp_path / "out")

    assert (data_set.Columns, data_set.Rows) == (TEXT_PAGE_PX if status is Status.NOT_ANALYSED else PAGE_PX)
    assert data_set.PhotometricInterpretation == "RGB"
    assert data_set.BurnedInAnnotation == "NO"
    assert "Research use only. Not a medical device." in data_set.ImageComments
    assert len(np.unique(data_set.pixel_array[..., 0])) > 50


def test_the_picture_is_the_same_however_the_slices_are_stored(make_request: MakeRequest, tmp_path: Path) -> None:
    pictures = [
        summary(make_request(downwards=downwards), tmp_path / str(downwards)).pixel_array for downwards in (False, True)
    ]
    # Captions differ (other instance numbers); the slices themselves do not.
    tile = (slice(90, 440), slice(30, 380))
    np.testing.assert_array_equal(pictures[0][tile], pictures[1][tile])


def test_lesions_are_outlined_only_where_there_are_some(make_request: MakeRequest, tmp_path: Path) -> None:
    infected = np.array(REGIONS[-1].colour_rgb)
    grids = [
        summary(make_request(status), tmp_path / status.value).pixel_array[90:880, 30:1150]
        for status in (Status.POSITIVE, Status.NEGATIVE)
    ]
    close = [int((np.abs(pixels.astype(int) - infected).max(axis=-1) < 40).sum()) for pixels in grids]
    assert close[0] > 200
    assert close[1] == 0


def test_the_shown_slices_are_named_as_sources(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request()

    referenced = [item.ReferencedSOPInstanceUID for item in summary(request, tmp_path / "out").SourceImageSequence]

    assert len(referenced) == 6
    assert set(referenced) <= {source.sop_instance_uid for source in request.sources}


def drawn_boxes(page: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where the tiles hold the colour of boxes; lines of two pixels, smoothed by shrinking."""
    return np.asarray(np.abs(page[90:880, 30:1150].astype(int) - BOX).max(axis=-1) < 60)


def test_boxes_are_drawn_only_where_there_are_some(make_request: MakeRequest, tmp_path: Path) -> None:
    with_boxes, without = (
        summary(with_embolism(make_request(), presence), tmp_path / presence.value).pixel_array
        for presence in (Presence.PRESENT, Presence.ABSENT)
    )

    assert drawn_boxes(with_boxes).sum() > 300
    assert drawn_boxes(without).sum() == 0


def test_every_slice_with_a_box_is_shown_where_there_is_room(make_request: MakeRequest, tmp_path: Path) -> None:
    request = with_embolism(make_request())

    referenced = {item.ReferencedSOPInstanceUID for item in summary(request, tmp_path / "out").SourceImageSequence}

    boxed = {request.sources[box.slice_index].sop_instance_uid for embolus in EMBOLI for box in embolus.boxes}
    assert boxed <= referenced
    assert len(referenced) == 6


@pytest.mark.parametrize("flip_columns", [False, True])
def test_a_box_surrounds_what_it_was_put_around(flip_columns: bool) -> None:
    shown = replace(presentation(np.eye(4)), flip_columns=flip_columns)
    plane_hu = np.full((48, 64), -1000, dtype=np.int16)
    plane_hu[20:28, 12:22] = 3000
    crop = (slice(4, 44), slice(2, 60))

    def tile(*boxes: tuple[str, tuple[float, float, float, float]]) -> NDArray[np.int64]:
        one = Tile(plane_hu=plane_hu, contours=(), boxes=boxes, window_hu=(-250, 450), caption="")
        page = Page(
            title="", outcome="", outcome_colour=BOX, sentences=(), score=None, score_title="", legend=(), details=(),
            warning="",
        )  # fmt: skip
        # Without the orientation letters at the edges and the scale bar.
        return draw_page(page, [one], shown, crop)[84 + 40 : 84 + 330, 24 + 30 : 24 + 340].astype(np.int64)

    rows, columns = extent(tile().min(axis=-1) > 127)
    line_rows, line_columns = extent(np.abs(tile(("", (12.0, 20.0, 22.0, 28.0))) - BOX).max(axis=-1) < 60)

    # Two pixels wide, around the block and not over it.
    np.testing.assert_allclose([*line_rows, *line_columns], np.add([*rows, *columns], [-2, 2, -2, 2]), atol=1)


def extent(plane: NDArray[np.bool_]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last row, first and last column that hold anything."""
    held = [np.flatnonzero(plane.any(axis=axis)) for axis in (1, 0)]
    return (int(held[0][0]), int(held[0][-1])), (int(held[1][0]), int(held[1][-1]))
