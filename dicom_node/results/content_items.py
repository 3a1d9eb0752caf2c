"""Content items of structured reports (PS3.3 C.17.3): one function a value type, for our table of codes.

Owns what highdicom leaves to its callers: how a ``Code`` is given, and how a number is written.
"""

from collections.abc import Iterable

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)
from pydicom.sr.coding import Code

CONTAINS = RelationshipTypeValues.CONTAINS


def container(name: Code, items: Iterable[ContentItem]) -> ContainerContentItem:
    """A heading with what stands under it."""
    item = ContainerContentItem(name=concept(name), relationship_type=CONTAINS, is_content_continuous=False)
    item.ContentSequence = ContentSequence(list(items))
    return item


def text(name: Code, value: str, relationship: RelationshipTypeValues = CONTAINS) -> TextContentItem:
    """A TEXT item."""
    return TextContentItem(name=concept(name), value=value, relationship_type=relationship)


def number(name: Code, value: float, unit: Code, relationship: RelationshipTypeValues = CONTAINS) -> NumContentItem:
    """A NUM item."""
    item = NumContentItem(name=concept(name), value=value, unit=concept(unit), relationship_type=relationship)
    item.MeasuredValueSequence[0].NumericValue = f"{value:.10g}"  # "7", where highdicom writes "7.0"
    return item


def code(name: Code, value: Code, relationship: RelationshipTypeValues = CONTAINS) -> CodeContentItem:
    """A CODE item."""
    return CodeContentItem(name=concept(name), value=concept(value), relationship_type=relationship)


def uid_reference(name: Code, uid: str, relationship: RelationshipTypeValues) -> UIDRefContentItem:
    """A UIDREF item."""
    return UIDRefContentItem(name=concept(name), value=uid, relationship_type=relationship)


def concept(code: Code) -> CodedConcept:
    """The code as highdicom takes it."""
    return CodedConcept(code.value, code.scheme_designator, code.meaning)
