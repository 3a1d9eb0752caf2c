"""The table of codes against pydicom's copy of the standard's dictionaries."""

import pytest
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from dicom_node.results import codes

TABLE = {name: code for name, code in vars(codes).items() if isinstance(code, Code)}
ELSEWHERE = {"ENGLISH", "MILLILITRE", "POINTS"}
"""RFC 5646 and UCUM define their codes by grammar, not by a list."""


@pytest.mark.parametrize("name", sorted(TABLE))
def test_standard_codes_are_in_the_dictionary_and_private_ones_are_short(name: str) -> None:
    code = TABLE[name]
    assert len(code.value) <= 16
    assert 1 <= len(code.meaning) <= 64
    if code.scheme_designator == codes.PRIVATE_SCHEME or name in ELSEWHERE:
        return
    meanings = [
        meaning.lower()
        for by_value in concepts[code.scheme_designator].values()
        for value, (meaning, _) in by_value.items()
        if value == code.value
    ]
    assert code.meaning.lower() in meanings


def test_no_code_stands_twice() -> None:
    assert len({(code.scheme_designator, code.value) for code in TABLE.values()}) == len(TABLE)


def test_zone_codes_differ_and_fit() -> None:
    zones = [f"{side} {level}" for side in ("left", "right") for level in ("upper", "middle", "lower")]
    values = {codes.zone_score(zone).value for zone in zones}
    assert len(values) == 6
    assert max(map(len, values)) <= 16
