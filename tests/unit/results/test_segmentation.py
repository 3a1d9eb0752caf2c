"""The segmentation, read back by highdicom and compared voxel by voxel with the masks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
from highdicom.seg import Segmentation
from numpy.typing import NDArray

from dicom_node.records import ResultKind
from dicom_node.results import ResultRequest, write_results
from dicom_node.results.part10 import write_part10
from dicom_node.results.segmentation import build_segmentation
from dicom_node.results.study_header import read_study_header
from inference.findings import Mask, Region, Status
from inference.volume import Volume

MakeRequest = Callable[..., ResultRequest]


def segmented(request: ResultRequest, folder: Path) -> Segmentation:
    folder.mkdir()
    built = build_segmentation(request, read_study_header(request))
    assert built is not None
    write_part10(built, folder / "segmentation.dcm")
    return highdicom.seg.segread(folder / "segmentation.dcm")


def read_back(segmentation: Segmentation, number: int, request: ResultRequest) -> NDArray[np.bool_]:
    return segmentation.get_pixels_by_source_instance(
        [source.sop_instance_uid for source in request.sources],
        segment_numbers=[number],
        assert_missing_frames_are_empty=True,
    )[..., 0].astype(bool)


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("downwards", [False, True])
def test_each_frame_lies_on_its_source_slice(
    make_request: MakeRequest, tmp_path: Path, oblique: bool, downwards: bool
) -> None:
    request = make_request(oblique=oblique, downwards=downwards)

    segmentation = segmented(request, tmp_path / "out")

    for number, region in enumerate((Region.LEFT_LUNG, Region.RIGHT_LUNG, Region.INFECTED_REGION), start=1):
        mask = request.mask(region)
        assert mask is not None
        np.testing.assert_array_equal(read_back(segmentation, number, request), mask.array_zyx)
    geometry = {facts.sop_instance_uid: facts.frames[0] for facts in request.source_facts}
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        source = geometry[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert tuple(map(float, frame.PlanePositionSequence[0].ImagePositionPatient)) == source.position_mm
        assert tuple(map(float, orientation)) == source.orientation
    assert float(shared.PixelMeasuresSequence[0].SpacingBetweenSlices) == pytest.approx(10.0)


def test_frames_of_an_enhanced_source_name_their_source_frame(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request(multi_frame=True)

    segmentation = segmented(request, tmp_path / "out")

    infected = request.mask(Region.INFECTED_REGION)
    assert infected is not None
    numbers = [source.frame_number for source in request.sources]
    pixels = segmentation.get_pixels_by_source_frame(
        request.sources[0].sop_instance_uid, numbers, segment_numbers=[3], assert_missing_frames_are_empty=True
    )[..., 0]
    np.testing.assert_array_equal(pixels.astype(bool), infected.array_zyx)
    facts = request.source_facts[0]
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        number = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        position = facts.frames[number - 1].position_mm
        assert tuple(map(float, frame.PlanePositionSequence[0].ImagePositionPatient)) == position
    (series,) = segmentation.ReferencedSeriesSequence
    assert len(series.ReferencedInstanceSequence) == 1


def test_frames_without_voxels_are_left_out(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request()

    segmentation = segmented(request, tmp_path / "out")

    held = sum(int(mask.array_zyx.any(axis=(1, 2)).sum()) for mask in request.findings.masks)
    assert held == segmentation.NumberOfFrames < 3 * len(request.sources)


def test_a_slice_whose_pixels_fill_no_whole_bytes_is_packed_without_gaps(
    make_request: MakeRequest, tmp_path: Path
) -> None:
    request = make_request()
    assert request.volume is not None
    corner = (slice(None), slice(20, 27), slice(12, 21))
    request = replace(
        request,
        volume=Volume(
            array_zyx=np.ascontiguousarray(request.volume.array_zyx[corner]),
            index_to_patient=request.volume.index_to_patient,
            frame_of_reference_uid=request.volume.frame_of_reference_uid,
        ),
        findings=replace(
            request.findings,
            masks=tuple(
                Mask(region=mask.region, array_zyx=mask.array_zyx[corner], model=mask.model)
                for mask in request.findings.masks
            ),
        ),
    )

    segmentation = segmented(request, tmp_path / "out")

    # The left lung lies outside this corner, so the right one has number 1.
    right = request.mask(Region.RIGHT_LUNG)
    assert right is not None
    np.testing.assert_array_equal(read_back(segmentation, 1, request), right.array_zyx)


def test_a_lone_segment_is_read_back_too(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request(regions=(Region.RIGHT_LUNG,))

    segmentation = segmented(request, tmp_path / "out")

    right = request.mask(Region.RIGHT_LUNG)
    assert right is not None
    np.testing.assert_array_equal(read_back(segmentation, 1, request), right.array_zyx)


def test_segments_say_what_they_are(make_request: MakeRequest, tmp_path: Path) -> None:
    left, right, infected = segmented(make_request(), tmp_path / "out").SegmentSequence

    assert [segment.SegmentLabel for segment in (left, right, infected)] == [
        "Left lung",
        "Right lung",
        "Infected region",
    ]
    for segment, side in ((left, "7771000"), (right, "24028007")):
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "39607008"
        modifier = segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
        assert modifier.CodeValue == side
        assert segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeValue == side
    assert infected.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert infected.AnatomicRegionSequence[0].CodeValue == "39607008"
    algorithm = infected.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("infection_unet", "1.0.3")
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    assert len({segment.TrackingUID for segment in (left, right, infected)}) == 3
    assert len({tuple(segment.RecommendedDisplayCIELabValue) for segment in (left, right, infected)}) == 3


def test_a_negative_study_has_its_lungs_alone(make_request: MakeRequest, tmp_path: Path) -> None:
    segmentation = segmented(make_request(Status.NEGATIVE), tmp_path / "out")

    assert [segment.SegmentLabel for segment in segmentation.SegmentSequence] == ["Left lung", "Right lung"]


def test_without_masks_there_is_no_segmentation(make_request: MakeRequest, tmp_path: Path) -> None:
    for request in (make_request(regions=()), make_request(Status.NOT_ANALYSED)):
        kinds = [item.kind for item in write_results(request, tmp_path / "out")]
        assert kinds == [ResultKind.REPORT, ResultKind.SUMMARY]


def test_the_source_is_referenced_as_viewers_need_it(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request()

    segmentation = segmented(request, tmp_path / "out")

    (series,) = segmentation.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == request.chosen_series_uid
    referenced = [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence]
    assert sorted(referenced) == sorted(source.sop_instance_uid for source in request.sources)
    assert segmentation.FrameOfReferenceUID == request.volume.frame_of_reference_uid  # type: ignore[union-attr]
    assert segmentation.SegmentationType == "BINARY"


def test_a_lossy_source_is_said_to_be_one(make_request: MakeRequest, tmp_path: Path) -> None:
    lossy = make_request(LossyImageCompression="01", LossyImageCompressionRatio="8.87")
    for request, expected in ((lossy, "01"), (make_request(), "00")):
        assert segmented(request, tmp_path / expected).LossyImageCompression == expected
