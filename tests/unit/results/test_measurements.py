"""The measurement report: every box read back where it was found, and tied to its embolus."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dictionaries
from result_requests import EMBOLI, EMBOLI_MODEL, make_request, with_embolism

from dicom_node.records import ResultKind
from dicom_node.results import ResultRequest, codes, findings_document, write_results
from dicom_node.results.measurements import build_measurements, measured
from dicom_node.results.part10 import write_part10
from dicom_node.results.study_header import read_study_header
from inference.findings import Box, Embolus, Presence, Side, Status

MakeRequest = Callable[..., ResultRequest]
BOXES = [(embolus, box) for embolus in EMBOLI for box in embolus.boxes]
COORDINATE = st.floats(0, 512, width=32, allow_subnormal=False)


def written(request: ResultRequest, folder: Path) -> Path:
    built = build_measurements(request, read_study_header(request))
    assert built is not None
    folder.mkdir()
    write_part10(built, folder / "measurements.dcm")
    return folder / "measurements.dcm"


def document(request: ResultRequest, folder: Path) -> hd.sr.ComprehensiveSR:
    return hd.sr.srread(written(request, folder))


def named(item: Dataset, name: Any) -> list[Dataset]:
    """Children with that concept name."""
    value = name.value
    return [child for child in item.ContentSequence if child.ConceptNameCodeSequence[0].CodeValue == value]


def groups(report: Dataset) -> list[Dataset]:
    (measurements,) = named(report, codes.IMAGING_MEASUREMENTS)
    return named(measurements, codes.MEASUREMENT_GROUP)


def numbers(item: Dataset) -> Iterator[tuple[str, float]]:
    for child in item.ContentSequence:
        if child.ValueType == "NUM":
            name = child.ConceptNameCodeSequence[0].CodeMeaning
            yield name, float(child.MeasuredValueSequence[0].NumericValue)


def test_highdicom_reads_every_box_back(make_request: MakeRequest, tmp_path: Path) -> None:
    request = with_embolism(make_request())

    found = document(request, tmp_path / "out").content.get_planar_roi_measurement_groups()

    assert len(found) == len(BOXES)
    for group, (embolus, box) in zip(found, BOXES, strict=True):
        left, top, right, bottom = box.box_xyxy_px
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        assert group.roi.graphic_type is hd.sr.GraphicTypeValues.POLYLINE
        np.testing.assert_array_equal(group.roi.value, corners)
        (image,) = group.roi.ContentSequence
        assert image.RelationshipType == "SELECTED FROM"
        assert image.referenced_sop_instance_uid == request.sources[box.slice_index].sop_instance_uid
        assert image.referenced_frame_numbers is None
        assert group.tracking_identifier == f"Cornerstone3DTools@^0.1.0:RectangleROI:Embolus {embolus.number}"
        assert group.finding_type == dictionaries.SCT.PulmonaryEmbolism
        (site,) = group.finding_sites
        assert site.value == dictionaries.SCT.PulmonaryArtery
        assert site.laterality == (dictionaries.SCT.Right if embolus.side is Side.RIGHT else None)
    assert len({group.tracking_uid for group in found}) == len(BOXES), "viewers keep one box a tracking UID"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE), st.integers(0, 23))
def test_no_point_moves(base: ResultRequest, xyxy: tuple[float, float, float, float], slice_index: int) -> None:
    box = Box(slice_index=slice_index, box_xyxy_px=xyxy, score=0.5)
    embolus = replace(EMBOLI[0], boxes=(box,))
    request = replace(base, findings=replace(base.findings, emboli=(embolus,)))

    built = build_measurements(request, read_study_header(request))

    (group,) = groups(built)
    (region,) = named(group, codes.IMAGE_REGION)
    left, top, right, bottom = xyxy
    assert list(region.GraphicData) == [left, top, right, top, right, bottom, left, bottom, left, top]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ResultRequest:
    return with_embolism(make_request(tmp_path_factory.mktemp("study")))


def test_a_frame_of_a_multi_frame_image_is_named(make_request: MakeRequest, tmp_path: Path) -> None:
    request = with_embolism(make_request(multi_frame=True))

    found = document(request, tmp_path / "out").content.get_planar_roi_measurement_groups()

    frames = [group.roi.ContentSequence[0].referenced_frame_numbers for group in found]
    assert frames == [[request.sources[box.slice_index].frame_number] for _, box in BOXES]
    assert len({group.roi.ContentSequence[0].referenced_sop_instance_uid for group in found}) == 1


def test_a_measured_number_carries_its_own_coordinates() -> None:
    corners = np.array([(1.5, 2.0), (4.0, 2.0), (4.0, 5.0), (1.5, 5.0), (1.5, 2.0)])
    image = hd.sr.SourceImageForRegion("1.2.840.10008.5.1.4.1.1.2.1", "1.2.826.7", referenced_frame_numbers=[3])
    region = hd.sr.ImageRegion("POLYLINE", corners, image)

    item = measured(codes.WIDTH, 2.5, codes.MILLIMETRE, region)

    assert (item.ValueType, item.RelationshipType, item.value) == ("NUM", "CONTAINS", 2.5)
    (coordinates,) = item.ContentSequence
    assert (coordinates.ValueType, coordinates.RelationshipType) == ("SCOORD", "INFERRED FROM")
    assert coordinates.GraphicType == "POLYLINE"
    np.testing.assert_array_equal(coordinates.value, corners)
    (source,) = coordinates.ContentSequence
    assert (source.ValueType, source.RelationshipType) == ("IMAGE", "SELECTED FROM")
    assert (source.referenced_sop_instance_uid, source.referenced_frame_numbers) == ("1.2.826.7", [3])


def test_every_number_of_a_group_is_inferred_from_its_region(make_request: MakeRequest, tmp_path: Path) -> None:
    for group, (_, box) in zip(groups(document(with_embolism(make_request()), tmp_path / "out")), BOXES, strict=True):
        (region,) = named(group, codes.IMAGE_REGION)
        items = [item for item in group.ContentSequence if item.ValueType == "NUM"]
        for item in items:
            (coordinates,) = item.ContentSequence
            assert coordinates.GraphicData == region.GraphicData
            assert (
                coordinates.ContentSequence[0].ReferencedSOPSequence == region.ContentSequence[0].ReferencedSOPSequence
            )
        left, top, right, bottom = box.box_xyxy_px
        width_mm, height_mm = 5.6 * (right - left), 5.6 * (bottom - top)  # pixels of 5.6 mm
        assert dict(numbers(group)) == pytest.approx(
            {
                "Certainty of Finding": 100 * box.score,
                "Width": width_mm,
                "Height": height_mm,
                "Area": width_mm * height_mm,
            },
            abs=0.051,
        )


def test_the_boxes_of_an_embolus_name_it_and_carry_what_is_said_of_it(
    make_request: MakeRequest, tmp_path: Path
) -> None:
    request = with_embolism(make_request())
    stated = {one["number"]: one["tracking_uid"] for one in findings_document(request)["embolism"]["emboli"]}

    for group, (embolus, _) in zip(groups(document(request, tmp_path / "out")), BOXES, strict=True):
        (link,) = named(group, codes.LESION_IDENTIFIER)
        assert link.TextValue == f"Embolus {embolus.number}"
        (uid,) = named(link, codes.TRACKING_UID)
        assert str(uid.UID) == stated[embolus.number]
        width, height, depth = embolus.extent_xyz_mm
        extent = {"Width": width, "Height": height, "Depth": depth}
        assert dict(numbers(link)) == {"Probability": 100 * embolus.probability, **extent}
    assert len(set(stated.values())) == len(EMBOLI)


@pytest.mark.parametrize(
    ("presence", "code", "probability", "conclusion"),
    [
        (Presence.PRESENT, "52101004", 93.4, "Positive: pulmonary embolism found by the model, probability 93 %."),
        (Presence.ABSENT, "272519000", 3.1, "Negative: no pulmonary embolism found by the model, probability 3 %."),
        (
            Presence.INDETERMINATE,
            "373068000",
            44.7,
            "Indeterminate: pulmonary embolism neither found nor excluded by the model, probability 45 %.",
        ),
    ],
)
def test_the_study_as_a_whole_stands_beside_its_boxes(
    make_request: MakeRequest, tmp_path: Path, presence: Presence, code: str, probability: float, conclusion: str
) -> None:
    request = with_embolism(make_request(), presence)
    request = replace(request, findings=replace(request.findings, emboli=EMBOLI))

    (evaluations,) = named(document(request, tmp_path / "out"), codes.QUALITATIVE_EVALUATIONS)

    (said,) = named(evaluations, codes.PULMONARY_EMBOLISM)
    assert said.ConceptCodeSequence[0].CodeValue == code
    assert dict(numbers(said)) == {"Probability": probability}
    assert named(evaluations, codes.CONCLUSION)[0].TextValue == conclusion
    (comment,) = named(evaluations, codes.COMMENT)
    assert comment.TextValue.startswith("Research use only. Not a medical device.")


@pytest.mark.parametrize("presence", [None, Presence.ABSENT, Presence.PRESENT])
def test_without_a_box_there_is_no_document(
    make_request: MakeRequest, tmp_path: Path, presence: Presence | None
) -> None:
    request = make_request()
    if presence is not None:
        request = with_embolism(request, presence)
        request = replace(request, findings=replace(request.findings, emboli=()))

    kinds = {one.kind for one in write_results(request, tmp_path / "out")}
    assert ResultKind.REPORT in kinds
    assert ResultKind.MEASUREMENTS not in kinds


def test_a_study_that_was_not_analysed_has_none(make_request: MakeRequest) -> None:
    request = make_request(Status.NOT_ANALYSED)
    assert build_measurements(request, read_study_header(request)) is None


def test_it_is_tid_1500_with_its_flags_observer_and_algorithm(make_request: MakeRequest, tmp_path: Path) -> None:
    report = document(with_embolism(make_request()), tmp_path / "out")

    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert {group.ContentTemplateSequence[0].TemplateIdentifier for group in groups(report)} == {"1410"}
    flags = (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag)
    assert flags == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    (observer,) = report.content.get_observer_contexts(dictionaries.DCM.Device)
    assert observer.observer_identifying_attributes.model_name == "dicom-node chest CT"
    for group in groups(report):
        (name,) = named(group, codes.ALGORITHM_NAME)
        (version,) = named(group, codes.ALGORITHM_VERSION)
        (model,) = named(group, codes.ALGORITHM_PARAMETERS)
        assert (name.TextValue, version.TextValue) == ("pulmonary_embolism", "0.1.0")
        assert model.TextValue == f"emboli_detector 1.0.0 (sha256 {EMBOLI_MODEL.digest[:12]})"
    (procedure,) = named(report, codes.PROCEDURE_REPORTED)
    assert procedure.ConceptCodeSequence[0].CodeMeaning == "Computed tomography"


def test_the_evidence_is_the_images_with_boxes(make_request: MakeRequest, tmp_path: Path) -> None:
    request = with_embolism(make_request())

    (study,) = document(request, tmp_path / "out").CurrentRequestedProcedureEvidenceSequence

    assert study.StudyInstanceUID == request.study_uid
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == request.chosen_series_uid
    uids = [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence]
    assert uids == [request.sources[k].sop_instance_uid for k in (7, 8, 9)]


def test_one_box_is_enough(make_request: MakeRequest, tmp_path: Path) -> None:
    request = with_embolism(make_request())
    lone: Embolus = EMBOLI[1]
    request = replace(request, findings=replace(request.findings, emboli=(lone,)))

    assert len(groups(document(request, tmp_path / "out"))) == 1


def test_a_box_outside_the_volume_is_a_fault(make_request: MakeRequest) -> None:
    request = with_embolism(make_request())
    beyond = replace(EMBOLI[0], boxes=(replace(EMBOLI[0].boxes[0], slice_index=24),))
    with pytest.raises(ValueError, match="slice 24 of 24"):
        replace(request, findings=replace(request.findings, emboli=(beyond,)))


def test_dcmtk_reads_it(make_request: MakeRequest, tmp_path: Path) -> None:
    path = written(with_embolism(make_request()), tmp_path / "out")
    program = shutil.which("dsrdump")
    assert program, "dcmtk is not installed"
    done = subprocess.run(
        [program, "--print-long-values", path], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.count("(POLYLINE,") == 5 * len(BOXES), "a region and four numbers a box"
    assert 'Lesion Identifier")="Embolus 1"' in done.stdout
    assert "W: " not in done.stderr
    assert "E: " not in done.stderr
