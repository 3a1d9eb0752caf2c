"""The sections on codes: every concept that the created objects hold (PS3.16)."""

from pydicom.sr.coding import Code

from dicom_node.commands.statement.markdown import section, table
from dicom_node.results import codes
from dicom_node.results.provenance import MANUFACTURER
from inference.findings import Side
from inference.severity import ZONE_NAMES


def standard_codes() -> str:
    """Standard concepts, in the order of the table of codes."""
    rows = [
        [code.value, code.scheme_designator, code.meaning, codes.CITATIONS.get(code, "")]
        for code in vars(codes).values()
        if isinstance(code, Code) and code.scheme_designator != codes.PRIVATE_SCHEME
    ]
    return section("Coded terminology", table(["code", "scheme", "meaning", "source, where PS3.16 lists none"], rows))


def private_scheme() -> str:
    """The private coding scheme, whole."""
    zones = [codes.zone_score(f"{side.value} {name}") for side in (Side.RIGHT, Side.LEFT) for name in ZONE_NAMES]
    concepts = dict(codes.PRIVATE_DEFINITIONS) | dict.fromkeys(zones, codes.ZONE_SCORE_DEFINITION)
    return section(
        "Private coding scheme",
        f'Coding Scheme Designator `{codes.PRIVATE_SCHEME}`, Coding Scheme Name "{codes.PRIVATE_SCHEME_NAME}", '
        f'Coding Scheme Responsible Organization "{MANUFACTURER}". Objects that use it declare it in Coding Scheme '
        "Identification Sequence (0008,0110), PS3.3 C.12.1.1.1. It has no UID and no registration.",
        table(["code", "meaning", "definition"], [[c.value, c.meaning, text] for c, text in concepts.items()]),
    )
