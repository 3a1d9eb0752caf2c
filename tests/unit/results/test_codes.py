"""The table of codes against pydicom's copy of the standard's dictionaries, and against what results really hold."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dictionaries
from pydicom.sr.coding import Code
from result_requests import with_embolism

from dicom_node.records import ResultKind
from dicom_node.results import ResultRequest, codes, write_results
from inference.findings import Presence, Status

MakeRequest = Callable[..., ResultRequest]
TABLE = {name: code for name, code in vars(codes).items() if isinstance(code, Code)}
STANDARD = {name: code for name, code in TABLE.items() if code.scheme_designator != codes.PRIVATE_SCHEME}
PRIVATE = {name: code for name, code in TABLE.items() if code.scheme_designator == codes.PRIVATE_SCHEME}
CITATION = re.compile(r"PS3\.16 (CID|TID|section) [\d.]+")
CONTEXT_GROUPS = {
    "ANATOMICAL_STRUCTURE": 7150,
    "MORPHOLOGICALLY_ABNORMAL": 7150,
    "LUNG": 7151,
    "LESION": 7151,
    "LEFT": 244,
    "RIGHT": 244,
    "BILATERAL": 244,
    "ARTIFICIAL_INTELLIGENCE": 7162,
    "SEGMENTATION": 7203,
    "SEGMENTED_IMAGE": 7202,
    "PROCESSING_EQUIPMENT": 7005,
    "DIAGNOSTIC_IMAGING_REPORT": 7000,
    "OF_INTEREST": 7010,
    "CONCLUSION": 7002,
    "DEVICE": 270,
    "METHOD_CITATION": 228,
    "POSITIVE": 250,
    "NEGATIVE": 250,
    "SUCCEEDED_WITH_FINDINGS": 6047,
    "SUCCEEDED_WITHOUT_FINDINGS": 6047,
    "NONE_SUCCEEDED": 6047,
    "MEAN_ATTENUATION": 6141,
    "IMAGING_MEASUREMENT_REPORT": 7021,
    "BOUNDED_BY": 219,
    "CERTAINTY_OF_FINDING": 6048,
    "WIDTH": 7469,
    "HEIGHT": 7469,
    "DEPTH": 7469,
    "AREA": 7469,
    "MILLIMETRE": 7181,
    "SQUARE_MILLIMETRE": 7181,
    "PULMONARY_EMBOLISM": 6102,
    "EMBOLUS": 7151,
    "PULMONARY_ARTERY": 7151,
    "PRESENT": 240,
    "ABSENT": 240,
    "UNDETERMINED": 240,
    "PERCENT": 7181,
    "HOUNSFIELD": 7181,
}
"""Context groups (PS3.16 Annex B) that the places where these codes stand draw from."""


def plain(meaning: str) -> str:
    """A meaning without the semantic tag that SNOMED's fully specified names end with, e.g. "(attribute)"."""
    return re.sub(r" \([a-z ]+\)$", "", meaning.casefold())


def listed(scheme: str) -> list[Code]:
    """Every code of a scheme that pydicom knows from PS3.16; one code may have several meanings."""
    return list(getattr(dictionaries, scheme).concepts.values()) if scheme in dictionaries.schemes() else []


def coded(data_set: Dataset) -> Iterator[Code]:
    """Every code of a data set, at any depth."""
    for element in data_set:
        if element.VR == "SQ":
            for item in element.value:
                if "CodeValue" in item:
                    yield Code(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
                yield from coded(item)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_code_fits_its_attributes(name: str) -> None:
    assert 1 <= len(TABLE[name].value) <= 16, "Code Value (0008,0100) is SH"
    assert 1 <= len(TABLE[name].meaning) <= 64, "Code Meaning (0008,0104) is LO"


@pytest.mark.parametrize("name", sorted(STANDARD))
def test_every_standard_code_is_in_the_dictionary_or_cited(name: str) -> None:
    code = STANDARD[name]
    meanings = {plain(known.meaning) for known in listed(code.scheme_designator) if known.value == code.value}
    if code in codes.CITATIONS:
        assert not meanings, "pydicom lists it: the citation is not needed"
        assert CITATION.search(codes.CITATIONS[code])
    else:
        assert plain(code.meaning) in meanings


@pytest.mark.parametrize(("name", "group"), CONTEXT_GROUPS.items())
def test_codes_are_of_the_context_group_of_their_place(name: str, group: int) -> None:
    assert TABLE[name] in getattr(dictionaries, f"cid{group}").concepts.values()


def test_the_private_scheme_holds_only_what_no_dictionary_does() -> None:
    standard = {plain(known.meaning) for scheme in dictionaries.schemes() for known in listed(scheme)}
    assert [name for name, code in PRIVATE.items() if plain(code.meaning) in standard] == []


def test_every_private_code_is_defined_with_its_value_type() -> None:
    assert set(codes.PRIVATE_DEFINITIONS) == set(PRIVATE.values())
    for definition in (*codes.PRIVATE_DEFINITIONS.values(), codes.ZONE_SCORE_DEFINITION):
        assert definition.startswith(("NUM, ", "TEXT: ", "CONTAINER: "))


def test_no_code_stands_twice() -> None:
    assert len({(code.scheme_designator, code.value) for code in TABLE.values()}) == len(TABLE)


def test_zone_codes_differ_and_fit() -> None:
    zones = [f"{side} {level}" for side in ("left", "right") for level in ("upper", "middle", "lower")]
    values = {codes.zone_score(zone).value for zone in zones}
    assert len(values) == 6
    assert max(map(len, values)) <= 16


@pytest.fixture(params=[*Status, *Presence])
def request_of_any_outcome(request: pytest.FixtureRequest, make_request: MakeRequest) -> ResultRequest:
    if isinstance(request.param, Presence):
        return with_embolism(make_request(), request.param)
    return make_request(request.param)


def test_every_result_declares_the_private_scheme_where_it_uses_it(
    request_of_any_outcome: ResultRequest, tmp_path: Path
) -> None:
    for written in write_results(request_of_any_outcome, tmp_path / "out"):
        result = dcmread(written.path)
        used = {code.scheme_designator for code in coded(result) if code.scheme_designator.startswith("99")}
        assert used == ({codes.PRIVATE_SCHEME} if written.kind is ResultKind.REPORT else set())
        declared = result.get("CodingSchemeIdentificationSequence", [])
        assert {scheme.CodingSchemeDesignator for scheme in declared} == used
        for scheme in declared:
            assert scheme.CodingSchemeName == codes.PRIVATE_SCHEME_NAME
            assert scheme.CodingSchemeResponsibleOrganization == "dicom-node"


def test_results_hold_no_code_from_outside_the_table(request_of_any_outcome: ResultRequest, tmp_path: Path) -> None:
    request = request_of_any_outcome
    zones = {codes.zone_score(zone.name) for score in request.findings.severity for zone in score.zones}
    known = {(code.scheme_designator, code.value, code.meaning) for code in {*TABLE.values(), *zones}}
    for result in write_results(request, tmp_path / "out"):
        held = {(code.scheme_designator, code.value, code.meaning) for code in coded(dcmread(result.path))}
        assert held <= known
