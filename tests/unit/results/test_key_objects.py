"""The key images: the slices that hold the findings, by instance and frame, and only where there are some."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from highdicom.ko import KeyObjectSelectionDocument
from highdicom.sr import ImageContentItem
from pydicom import dcmread
from test_results import dciodvfy_errors

from dicom_node.records import ResultKind
from dicom_node.results import ResultRequest, write_results
from dicom_node.results.key_objects import EMBOLUS_SLICES, REGION_SLICES
from inference.findings import Box, Embolus, Region, Status

MakeRequest = Callable[..., ResultRequest]


def key_objects(request: ResultRequest, folder: Path) -> Path | None:
    written = write_results(request, folder)
    return next((one.path for one in written if one.kind is ResultKind.KEY_OBJECTS), None)


def references(path: Path) -> list[ImageContentItem]:
    return KeyObjectSelectionDocument.from_dataset(dcmread(path)).content.get_references()  # type: ignore[return-value]


def embolus(number: int, *boxes: tuple[int, float]) -> Embolus:
    return Embolus(
        number=number, side=None, probability=1 / number, extent_xyz_mm=(9.0, 9.0, 9.0),
        boxes=tuple(
            Box(slice_index=k, box_xyxy_px=(10.0, 10.0, 14.0, 14.0), score=score) for k, score in boxes
        ),
    )  # fmt: skip


def with_emboli(request: ResultRequest, *emboli: Embolus) -> ResultRequest:
    return replace(request, findings=replace(request.findings, emboli=emboli))


def test_it_points_at_the_largest_areas_from_head_to_feet(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request()
    infected = request.mask(Region.INFECTED_REGION)
    assert infected is not None
    areas = np.count_nonzero(infected.array_zyx, axis=(1, 2))
    order = [source.sop_instance_uid for source in request.sources]

    path = key_objects(request, tmp_path / "out")

    assert path is not None
    shown = [order.index(item.referenced_sop_instance_uid) for item in references(path)]
    assert len(shown) == REGION_SLICES
    assert shown == sorted(shown, reverse=True), "the volume counts from the feet"
    assert int(areas.argmax()) in shown
    assert all(areas[k] for k in shown)


def test_frames_of_an_enhanced_image_are_named_one_by_one(make_request: MakeRequest, tmp_path: Path) -> None:
    request = make_request(multi_frame=True)
    infected = request.mask(Region.INFECTED_REGION)
    assert infected is not None
    held = {request.sources[k].frame_number for k in np.flatnonzero(infected.array_zyx.any(axis=(1, 2)))}

    path = key_objects(request, tmp_path / "out")

    assert path is not None
    frames = [item.referenced_frame_numbers for item in references(path)]
    assert all(numbers is not None and len(numbers) == 1 and numbers[0] in held for numbers in frames)
    assert len({tuple(numbers or ()) for numbers in frames}) == REGION_SLICES
    (study,) = dcmread(path).CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (image,) = series.ReferencedSOPSequence
    assert image.ReferencedSOPInstanceUID == request.sources[0].sop_instance_uid


def test_an_embolus_is_shown_where_its_box_is_most_certain(make_request: MakeRequest, tmp_path: Path) -> None:
    request = with_emboli(
        make_request(regions=()), embolus(1, (3, 0.4), (4, 0.9), (5, 0.7)), embolus(2, (15, 0.5), (16, 0.3))
    )

    path = key_objects(request, tmp_path / "out")

    assert path is not None
    assert [item.referenced_sop_instance_uid for item in references(path)] == [
        request.sources[k].sop_instance_uid for k in (15, 4)
    ]
    assert "embolus" in next(item for item in dcmread(path).ContentSequence if "TextValue" in item
                             and item.ConceptNameCodeSequence[0].CodeValue == "113012").TextValue  # fmt: skip
    assert dciodvfy_errors(path) == []


def test_many_emboli_are_cut_to_the_most_probable(make_request: MakeRequest, tmp_path: Path) -> None:
    request = with_emboli(make_request(regions=()), *(embolus(number, (number, 0.5)) for number in range(1, 21)))

    path = key_objects(request, tmp_path / "out")

    assert path is not None
    assert {item.referenced_sop_instance_uid for item in references(path)} == {
        request.sources[k].sop_instance_uid for k in range(1, EMBOLUS_SLICES + 1)
    }


@pytest.mark.parametrize("status", [Status.NEGATIVE, Status.NOT_ANALYSED])
def test_without_a_finding_there_is_none(make_request: MakeRequest, tmp_path: Path, status: Status) -> None:
    assert key_objects(make_request(status), tmp_path / "out") is None


def test_positive_without_anything_to_point_at_has_none(make_request: MakeRequest, tmp_path: Path) -> None:
    assert key_objects(make_request(regions=()), tmp_path / "out") is None


@pytest.mark.parametrize("multi_frame", [False, True])
def test_dcmtk_reads_it_and_it_says_why(make_request: MakeRequest, tmp_path: Path, multi_frame: bool) -> None:
    path = key_objects(make_request(multi_frame=multi_frame), tmp_path / "out")
    assert path is not None
    command = ["dsrdump", "--print-long-values", "--print-all-codes", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert '(113000,DCM,"Of Interest")' in printed
    assert "Images with the largest area" in printed
    assert "Research use only. Not a medical device." in printed
    assert printed.count("<contains IMAGE") == REGION_SLICES
