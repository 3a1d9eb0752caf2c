"""The conformance statement against its file, the tables behind it, and the objects that the node really writes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, MediaStorageDirectoryStorage

from dicom_node.__main__ import main
from dicom_node.association import contexts
from dicom_node.commands.statement import conformance_statement
from dicom_node.errors import StoreStatus
from dicom_node.headers import facts
from dicom_node.results import BUILDERS, codes, write_results
from dicom_node.results.part10 import TRANSFER_SYNTAX
from dicom_node.settings import CompletenessSettings, DestinationSettings, ScpSettings
from dicom_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from tests.unit.results.result_requests import make_request, with_embolism

DOCUMENT = Path(__file__).parents[3] / "docs" / "conformance.md"


@pytest.fixture(scope="module")
def statement() -> str:
    return conformance_statement()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    """One object of every kind."""
    folder = tmp_path_factory.mktemp("results")
    request = with_embolism(make_request(folder), lesions=True)
    return [dcmread(result.path) for result in write_results(request, folder / "out")]


def all_elements(data_set: Dataset) -> Iterator[Dataset]:
    """The data set and every item in it."""
    yield data_set
    for element in data_set:
        if element.VR == "SQ":
            for item in element.value:
                yield from all_elements(item)


def test_the_document_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(main, ["conformance"], catch_exceptions=False).stdout_bytes
    assert DOCUMENT.read_bytes() == printed, (
        "docs/conformance.md is out of date: run `dicom-node conformance > docs/conformance.md`"
    )


def test_every_table_behind_it_is_in_it(statement: str) -> None:
    stated = [
        *contexts.ANALYSED_CLASSES,
        *contexts.STORED_CLASSES,
        *contexts.TRANSFER_SYNTAXES,
        IMPLEMENTATION_CLASS_UID,
        IMPLEMENTATION_VERSION_NAME,
        *(f"{status:04X} | {status.meaning}" for status in StoreStatus),
        *(builder.sop_class_uid for builder in BUILDERS),
        *(
            f"{code.value} | {code.scheme_designator} | {code.meaning}"
            for code in vars(codes).values()
            if isinstance(code, Code) and code not in codes.PRIVATE_DEFINITIONS
        ),
        *(f"{code.value} | {code.meaning} | {text}" for code, text in codes.PRIVATE_DEFINITIONS.items()),
        *(f"`scp.{name}`" for name in ScpSettings.model_fields),
        *(f"`completeness.{name}`" for name in CompletenessSettings.model_fields),
        *(f"`destinations.{name}`" for name in DestinationSettings.model_fields),
    ]
    assert [one for one in stated if one not in statement] == []


def test_a_changed_table_changes_it(statement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "STORED_CLASSES", (MediaStorageDirectoryStorage,))
    monkeypatch.setattr(contexts, "TRANSFER_SYNTAXES", (*contexts.TRANSFER_SYNTAXES, UID("1.2.840.10008.1.2.4.100")))
    monkeypatch.setattr(facts, "MAXIMUM_FRAMES", 12_345)
    monkeypatch.setattr(ScpSettings.model_fields["maximum_associations"], "default", 77)
    changed = conformance_statement()
    for expected in (
        f"| {MediaStorageDirectoryStorage} |  | yes | stored |",
        "1.2.840.10008.1.2.4.100",
        "12,345",
        "`maximum_associations` (77)",
    ):
        assert expected in changed
        assert expected not in statement
    assert "MR Image Storage" not in changed


def test_what_it_says_of_the_objects_holds(statement: str, results: list[Dataset]) -> None:
    segmentation, report, summary, key_objects, measurements = results
    assert [one.SOPClassUID for one in results] == [builder.sop_class_uid for builder in BUILDERS]
    assert {one.file_meta.TransferSyntaxUID for one in results} == {TRANSFER_SYNTAX}
    assert not any(element.tag.is_private for one in results for item in all_elements(one) for element in item)
    for one in results:
        assert f"| {one.SeriesNumber} | {one.SeriesDescription} |" in statement
        assert (
            f"Manufacturer `{one.Manufacturer}`, Manufacturer's Model Name `{one.ManufacturerModelName}`" in statement
        )
    assert f"Segmentation Type {segmentation.SegmentationType}" in statement
    for segment in segmentation.SegmentSequence:
        assert f"| {segment.SegmentLabel} |" in statement
        assert f"Segment Algorithm Type {segment.SegmentAlgorithmType}" in statement
    flags = f"Completion Flag {report.CompletionFlag}, Verification Flag {report.VerificationFlag}"
    assert f"{flags}, Preliminary Flag {report.PreliminaryFlag}" in statement
    for section in report.ContentSequence:
        if section.ValueType == "CONTAINER":
            name = section.ConceptNameCodeSequence[0]
            assert f"| {name.CodeMeaning} | {name.CodeValue} | {name.CodingSchemeDesignator} |" in statement
    assert f"Burned In Annotation {summary.BurnedInAnnotation}" in statement
    assert (summary.PhotometricInterpretation, summary.BitsAllocated) == ("RGB", 8)
    for document in (key_objects, measurements):
        (title,) = document.ConceptNameCodeSequence
        assert f'Document title ({title.CodeValue}, {title.CodingSchemeDesignator}, "{title.CodeMeaning}")' in statement
        assert f"TID {document.ContentTemplateSequence[0].TemplateIdentifier}" in statement


def test_every_code_and_the_scheme_of_the_objects_are_stated(statement: str, results: list[Dataset]) -> None:
    items = [item for one in results for item in all_elements(one)]
    for code in (item for item in items if "CodeValue" in item):
        scheme = "" if code.CodingSchemeDesignator == codes.PRIVATE_SCHEME else f" {code.CodingSchemeDesignator} |"
        assert f"| {code.CodeValue} |{scheme} {code.CodeMeaning} |" in statement
    (declared,) = (item for item in items if "CodingSchemeName" in item)
    assert f'Coding Scheme Name "{declared.CodingSchemeName}"' in statement
    assert f'Coding Scheme Responsible Organization "{declared.CodingSchemeResponsibleOrganization}"' in statement


def test_it_needs_no_file_and_no_engine() -> None:
    import subprocess

    program = "import sys; from dicom_node.__main__ import main; main(['conformance'], standalone_mode=False)"
    check = "; sys.stderr.write(str([name for name in ('openvino', 'torch', 'dbos') if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program + check], capture_output=True, text=True, check=True)
    assert done.stderr == "[]"
