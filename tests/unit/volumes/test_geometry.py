"""Whatever positions come, there is one true grid or a refusal."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.errors import NotAnalysable
from dicom_node.headers.values import MAXIMUM_NUMBER
from dicom_node.records import FrameGeometry, FrameSource, Part10File
from dicom_node.volumes.geometry import Slice, repeated_positions, stack

NUMBERS = (
    st.sampled_from([0.0, 1.0, -1.0, 2.5, MAXIMUM_NUMBER, -MAXIMUM_NUMBER, 1e-300])
    | st.floats(-500, 500)
)  # fmt: skip
ORIENTATIONS = st.sampled_from([(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)]) | st.tuples(
    *[NUMBERS] * 6
)


def one_slice(
    number: int,
    position: tuple[float, float, float] | None,
    orientation: tuple[float, float, float, float, float, float] | None,
    spacing: tuple[float, float] | None,
) -> Slice:
    return Slice(
        source=FrameSource(
            sop_instance_uid=f"1.2.{number}", sop_class_uid="1.2", frame_number=1, file=Part10File(Path("unread.dcm"))
        ),
        geometry=FrameGeometry(
            position_mm=position, orientation=orientation, spacing_mm=spacing, rescale_slope=1.0, rescale_intercept=0.0
        ),
    )


@given(
    st.lists(st.tuples(*[NUMBERS] * 3) | st.none(), min_size=1, max_size=6),
    ORIENTATIONS | st.none(),
    st.tuples(NUMBERS, NUMBERS) | st.just((0.7, 0.7)) | st.none(),
)
def test_any_geometry_gives_a_grid_or_a_refusal(
    positions: list[tuple[float, float, float] | None],
    orientation: tuple[float, float, float, float, float, float] | None,
    spacing: tuple[float, float] | None,
) -> None:
    slices = [one_slice(number, position, orientation, spacing) for number, position in enumerate(positions)]
    repeated_positions(slices)
    try:
        stacked = stack(slices)
    except NotAnalysable as refusal:
        reason = str(refusal)
        assert "nan" not in reason
        return
    assert np.isfinite(stacked.index_to_patient).all()
    assert np.linalg.det(stacked.index_to_patient[:3, :3]) > 0


@given(
    st.integers(2, 40), st.floats(0.3, 10), st.tuples(*[st.floats(-1, 1)] * 6), st.tuples(*[st.floats(-900, 900)] * 3)
)
def test_every_regular_stack_is_found_again(
    count: int, distance: float, directions: tuple[float, ...], origin: tuple[float, float, float]
) -> None:
    along_row, across = np.array(directions[:3]), np.array(directions[3:])
    normal = np.cross(along_row, across)
    if np.linalg.norm(along_row) < 0.1 or np.linalg.norm(normal) < 0.1:
        return
    along_row /= np.linalg.norm(along_row)
    normal /= np.linalg.norm(normal)
    facing = tuple(np.concatenate([along_row, np.cross(normal, along_row)]).tolist())
    places = [np.array(origin) + normal * distance * index for index in range(count)]
    slices = [one_slice(n, tuple(place.tolist()), facing, (0.8, 0.7)) for n, place in enumerate(places)]
    stacked = stack(slices[::-1])
    assert [each.source.sop_instance_uid for each in stacked.slices] == [f"1.2.{n}" for n in range(count)]
    for index in (0, count - 1):
        found = stacked.index_to_patient @ np.array([0, 0, index, 1.0])
        assert np.allclose(found[:3], places[index], atol=1e-6)
    assert np.allclose(np.linalg.norm(stacked.index_to_patient[:3, :3], axis=0), [0.7, 0.8, distance])
