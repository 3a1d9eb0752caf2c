"""What the report says, read as a viewer reads it: the leaves of its containers, in order."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from result_requests import EMBOLI, with_embolism

from dicom_node.results import ResultRequest, wording
from dicom_node.results.part10 import write_part10
from dicom_node.results.report import build_report
from dicom_node.results.study_header import read_study_header
from inference.findings import Presence, Status

MakeRequest = Callable[..., ResultRequest]


def report(request: ResultRequest, folder: Path) -> Dataset:
    folder.mkdir()
    write_part10(build_report(request, read_study_header(request)), folder / "report.dcm")
    return dcmread(folder / "report.dcm")


def printed(container: Dataset) -> Iterator[str]:
    """Lines as viewers print them: leaves below leaves are not shown."""
    for item in container.ContentSequence:
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        if item.ValueType == "CONTAINER":
            yield name
            yield from printed(item)
        elif item.ValueType == "NUM":
            (value,) = item.MeasuredValueSequence
            yield f"{name}: {value.NumericValue} {value.MeasurementUnitsCodeSequence[0].CodeValue}"
        elif item.ValueType == "CODE":
            yield f"{name}: {item.ConceptCodeSequence[0].CodeMeaning}"
        else:
            yield f"{name}: {item.TextValue if item.ValueType == 'TEXT' else item.UID}"


def test_a_positive_study_reads_from_the_outcome_down(make_request: MakeRequest, tmp_path: Path) -> None:
    lines = list(printed(report(make_request(), tmp_path / "out")))

    assert lines[:5] == [
        "Summary",
        "Overall Assessment: Positive",
        "Conclusion: Positive: ground-glass opacity or consolidation found.",
        "Conclusion: Estimated involvement 23 % of lung volume (right 31 %, left 14 %).",
        "Conclusion: Six-zone CT score 7 of 24.",
    ]
    for line in (
        "Involved share of lung volume, both lungs: 22.8 %",
        "Involved share of lung volume, right lung: 31.2 %",
        "Volume of infected region: 186 ml",
        "Six-zone CT score: 7 {points}",
        "Lesion Identifier: 1: right lung, 78 x 67 x 90 mm, images 12-20",
        "Volume: 124.3 ml",
        "Mean Attenuation Coefficient: -450 [hnsf'U]",
        "Laterality: Right",
        "Algorithm Name: infection_unet",
        "Algorithm Version: 1.0.3",
        "Licence of the model: CC BY-NC-SA 4.0, research only",
        "Series: 3, Lung 5.0 (CT, 24 images): chosen: axial, 10 mm, 24 slices",
        "Comment: Slices are thicker than 3 mm: small lesions may be missed.",
        "Software version: dicom-node 0.1.0",
        "Procedure reported: Computed tomography",
        "Observer Type: Device",
    ):
        assert line in lines
    assert any("Research use only. Not a medical device." in line for line in lines)
    (table,) = [line for line in lines if line.startswith("Finding: ")]
    assert table.splitlines()[3].split() == ["Right", "lower", "38", "%", "3"]
    (citation,) = [line for line in lines if line.startswith("Method Citation: ")]
    assert "Radiology" in citation


@pytest.mark.parametrize(
    ("status", "assessment", "processing"),
    [
        (Status.POSITIVE, "10828004", "111242"),
        (Status.NEGATIVE, "260385009", "111241"),
        (Status.NOT_ANALYSED, "262008008", "111245"),
    ],
)
def test_the_outcome_is_coded(
    make_request: MakeRequest, tmp_path: Path, status: Status, assessment: str, processing: str
) -> None:
    summary = report(make_request(status), tmp_path / "out").ContentSequence[0]

    codes = [item.ConceptCodeSequence[0].CodeValue for item in summary.ContentSequence if item.ValueType == "CODE"]
    assert codes == [assessment, processing]


def test_a_study_that_was_not_analysed_says_why(make_request: MakeRequest, tmp_path: Path) -> None:
    document = report(make_request(Status.NOT_ANALYSED, reason="only 3 slices, at least 20 needed"), tmp_path / "out")

    lines = list(printed(document))
    assert "Conclusion: Not analysed: only 3 slices, at least 20 needed" in lines
    assert not any("percent" in line or " ml" in line for line in lines)
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 24


def test_zone_scores_are_coded_below_the_score(make_request: MakeRequest, tmp_path: Path) -> None:
    (severity,) = [
        item
        for item in report(make_request(), tmp_path / "out").ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Severity"
    ]
    (score,) = [item for item in severity.ContentSequence if "ContentSequence" in item]
    scores = [int(item.MeasuredValueSequence[0].NumericValue) for item in score.ContentSequence]
    assert scores == [0, 1, 3, 0, 1, 2]
    assert len({item.ConceptNameCodeSequence[0].CodeValue for item in score.ContentSequence}) == 6


def test_the_largest_lesions_are_listed_and_the_others_counted(make_request: MakeRequest, tmp_path: Path) -> None:
    lines = list(printed(report(make_request(lesions=47), tmp_path / "out")))

    assert lines.count("Lesion") == 20
    (rest,) = [line for line in lines if "not listed" in line]
    assert rest.startswith("Comment: 27 smaller lesions not listed, together ")


def test_the_flags_are_set_on_purpose(make_request: MakeRequest, tmp_path: Path) -> None:
    document = report(make_request(), tmp_path / "out")

    flags = (document.CompletionFlag, document.VerificationFlag, document.PreliminaryFlag)
    assert flags == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")


def test_it_is_no_measurement_report(make_request: MakeRequest, tmp_path: Path) -> None:
    document = report(make_request(), tmp_path / "out")

    assert document.ConceptNameCodeSequence[0].CodeValue == "18748-4"
    assert "ContentTemplateSequence" not in document


def test_the_private_scheme_is_declared(make_request: MakeRequest, tmp_path: Path) -> None:
    (scheme,) = report(make_request(), tmp_path / "out").CodingSchemeIdentificationSequence

    assert scheme.CodingSchemeDesignator == "99DICOMNODE"


def test_the_procedure_of_the_source_is_reported_where_it_is_coded(make_request: MakeRequest, tmp_path: Path) -> None:
    procedure = Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = "CTCH", "99RIS", "CT chest native"

    lines = list(printed(report(make_request(ProcedureCodeSequence=[procedure]), tmp_path / "out")))

    assert "Procedure reported: CT chest native" in lines


@pytest.mark.parametrize("status", Status)
def test_dcmtk_reads_it(make_request: MakeRequest, tmp_path: Path, status: Status) -> None:
    report(make_request(status), tmp_path / "out")
    program = shutil.which("dsrdump")
    assert program, "dcmtk is not installed"
    done = subprocess.run(
        [program, tmp_path / "out" / "report.dcm"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Diagnostic Imaging Report" in done.stdout
    assert "W: " not in done.stderr
    assert "E: " not in done.stderr


def test_a_study_with_emboli_names_each_with_side_slices_and_extent(make_request: MakeRequest, tmp_path: Path) -> None:
    lines = list(printed(report(with_embolism(make_request()), tmp_path / "out")))

    assert lines[:4] == [
        "Summary",
        "Overall Assessment: Positive",
        "Conclusion: Positive: pulmonary embolism found by the model, probability 93 %.",
        "Conclusion: 2 emboli marked: right lung 1, side not determined 1.",
    ]
    first = lines.index("Findings")
    assert lines[first + 1 : first + 3] == ["Pulmonary embolism: Present", "Probability: 93.4 %"]
    emboli = lines.index("Embolus")
    assert lines[emboli : emboli + 15] == [
        "Embolus",
        "Lesion Identifier: 1: right lung, 28 x 17 x 30 mm, images 15-17",
        "Probability: 87 %",
        "Width: 28 mm",
        "Height: 16.8 mm",
        "Depth: 30 mm",
        "Finding Site: Pulmonary artery",
        "Laterality: Right",
        "Embolus",
        "Lesion Identifier: 2: side not determined, 11 x 11 x 10 mm, image 16",
        "Probability: 52 %",
        "Width: 11.2 mm",
        "Height: 11.2 mm",
        "Depth: 10 mm",
        "Finding Site: Pulmonary artery",
    ]
    assert any(line.startswith("Comment: Probabilities are scores of the model") for line in lines)
    assert any("Research use only. Not a medical device." in line for line in lines)
    assert not any("opacity" in line for line in lines), "nobody looked for lesions"


@pytest.mark.parametrize(
    ("presence", "coded", "assessment", "conclusion"),
    [
        (Presence.ABSENT, "Absent", "Negative", "Negative: no pulmonary embolism found by the model, probability 3 %."),
        (
            Presence.INDETERMINATE,
            "Undetermined",
            "Undetermined",
            "Indeterminate: pulmonary embolism neither found nor excluded by the model, probability 45 %.",
        ),
    ],
)
def test_what_was_not_found_is_said_as_well(
    make_request: MakeRequest, tmp_path: Path, presence: Presence, coded: str, assessment: str, conclusion: str
) -> None:
    lines = list(printed(report(with_embolism(make_request(), presence), tmp_path / "out")))

    assert f"Overall Assessment: {assessment}" in lines
    assert f"Conclusion: {conclusion}" in lines
    assert f"Pulmonary embolism: {coded}" in lines


def test_the_most_probable_emboli_are_listed_and_the_others_counted(make_request: MakeRequest, tmp_path: Path) -> None:
    request = with_embolism(make_request())
    many = tuple(replace(EMBOLI[1], number=number) for number in range(1, 31))
    request = replace(request, findings=replace(request.findings, emboli=many))

    lines = list(printed(report(request, tmp_path / "out")))

    assert lines.count("Embolus") == 20
    assert "Comment: 10 less probable emboli not listed." in lines


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "0 %"), (0.001, "<1 %"), (0.126, "13 %"), (0.994, "99 %"), (0.9951, ">99 %"), (1, ">99 %")],
)
def test_no_probability_reads_as_certainty(share: float, said: str) -> None:
    assert wording.probability(share) == said
