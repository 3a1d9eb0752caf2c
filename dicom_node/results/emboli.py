"""What every result says alike of an embolus: its UIDs, its numbers and its place, coded.

Owns the names that tie the boxes of one embolus together across slices and across objects.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from highdicom.sr import ContentItem, FindingSite, RelationshipTypeValues
from pydicom.sr.coding import Code

from dicom_node.results import codes
from dicom_node.results.content_items import CONTAINS, concept, number
from dicom_node.results.regions import LATERALITIES
from dicom_node.results.request import ResultRequest
from inference.findings import Box, Embolus, Presence

PRESENCES: Final[Mapping[Presence, Code]] = MappingProxyType(
    {
        Presence.PRESENT: codes.PRESENT,
        Presence.ABSENT: codes.ABSENT,
        Presence.INDETERMINATE: codes.UNDETERMINED,
    }
)


def embolus_uid(request: ResultRequest, embolus: Embolus) -> str:
    """Tracking UID of an embolus, the same in every object and in ``findings.json``."""
    return request.uid(f"embolus/{embolus.number}")


def box_uid(request: ResultRequest, embolus: Embolus, box: Box) -> str:
    """Tracking UID of one box: viewers keep one box a tracking UID, so boxes must not share that of their embolus."""
    return request.uid(f"embolus/{embolus.number}/slice/{box.slice_index}")


def finding_site(embolus: Embolus) -> FindingSite:
    """Pulmonary artery, and on which side where that is known."""
    laterality = None if embolus.side is None else concept(LATERALITIES[embolus.side])
    return FindingSite(concept(codes.PULMONARY_ARTERY), laterality=laterality)


def numbers(embolus: Embolus, relationship: RelationshipTypeValues = CONTAINS) -> Iterator[ContentItem]:
    """Probability, and extent along columns, rows and slices of the grid, as NUM items."""
    yield number(codes.PROBABILITY, percentage(embolus.probability), codes.PERCENT, relationship)
    for name, length_mm in zip((codes.WIDTH, codes.HEIGHT, codes.DEPTH), embolus.extent_xyz_mm, strict=True):
        yield number(name, round(length_mm, 1), codes.MILLIMETRE, relationship)


def percentage(share: float) -> float:
    """A probability or score of 0 to 1 in per cent, with one decimal."""
    return round(100 * share, 1)
