"""A small data set of our own in the two text encodings of DICOMweb: JSON and XML.

JSON is the DICOM JSON Model (PS3.18 annex F), XML the Native DICOM Model (PS3.19 annex A.1). Values are numbers and
text that the node made or has checked; the XML library escapes them all the same. No XML is read here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
NATIVE_NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"


@dataclass(frozen=True, slots=True)
class Attribute:
    """As PS3.6 lists it."""

    tag: str
    """Eight hexadecimal digits in upper case."""
    vr: str
    keyword: str


@dataclass(frozen=True, slots=True)
class Element:
    """An attribute with its values; a data set is a sequence of them, in the order of their tags."""

    attribute: Attribute
    values: Sequence[str | int] = ()
    items: Sequence[Sequence["Element"]] = ()
    """Of a sequence (VR SQ), which has no values."""


def json_model(elements: Sequence[Element]) -> dict[str, object]:
    """PS3.18 section F.2: an element without values has a VR alone."""
    model: dict[str, object] = {}
    for element in elements:
        values = [*map(json_model, element.items), *element.values]
        model[element.attribute.tag] = {"vr": element.attribute.vr} | ({"Value": values} if values else {})
    return model


def native_model(elements: Sequence[Element]) -> bytes:
    """PS3.19 section A.1.6, in UTF-8."""
    root = ElementTree.Element("NativeDicomModel", {"xmlns": NATIVE_NAMESPACE, "xml:space": "preserve"})
    _add(root, elements)
    return DECLARATION + ElementTree.tostring(root, encoding="unicode").encode()


def _add(parent: ElementTree.Element, elements: Sequence[Element]) -> None:
    for element in elements:
        what = element.attribute
        added = ElementTree.SubElement(
            parent, "DicomAttribute", {"tag": what.tag, "vr": what.vr, "keyword": what.keyword}
        )
        for number, value in enumerate(element.values, start=1):
            ElementTree.SubElement(added, "Value", number=str(number)).text = str(value)
        for number, item in enumerate(element.items, start=1):
            _add(ElementTree.SubElement(added, "Item", number=str(number)), item)
