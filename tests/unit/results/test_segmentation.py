"""The segmentation, read back by its own reader and compared voxel by voxel with the masks."""

from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.records import ResultKind
from dicom_node.results import ResultRequest, write_results
from inference.findings import Region


def written(request: ResultRequest, folder: Path) -> Dataset:
    (path,) = [item.path for item in write_results(request, folder) if item.kind is ResultKind.SEGMENTATION]
    return dcmread(path)


@pytest.mark.parametrize("geometry", [{}, {"downwards": True}, {"oblique": True}, {"oblique": True, "downwards": True}])
def test_each_frame_lies_on_its_source_slice(
    make_request: Callable[..., ResultRequest], tmp_path: Path, geometry: dict[str, bool]
) -> None:
    request = make_request(**geometry)
    segmentation = highdicom.seg.segread(written(request, tmp_path / "out") and tmp_path / "out" / "segmentation.dcm")

    for number, region in enumerate((Region.LEFT_LUNG, Region.RIGHT_LUNG, Region.INFECTED_REGION), start=1):
        read = segmentation.get_pixels_by_source_instance(
            [source.sop_instance_uid for source in request.sources],
            segment_numbers=[number],
            assert_missing_frames_are_empty=True,
        )[..., 0]
        np.testing.assert_array_equal(read.astype(bool), request.mask(region).array_zyx)  # type: ignore[union-attr]
    positions = {facts.sop_instance_uid: facts.frames[0].position_mm for facts in request.source_facts}
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert tuple(map(float, frame.PlanePositionSequence[0].ImagePositionPatient)) == positions[source]
