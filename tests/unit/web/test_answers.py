"""The answers of STOW-RS in both encodings, and which one a client gets."""

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset

from dicom_node.errors import StoreStatus
from dicom_node.records import SopReference
from dicom_node.web import store_response
from dicom_node.web.acceptance import chosen
from dicom_node.web.store_response import JSON_TYPE, MEDIA_TYPES, XML_TYPE, StoreResponse
from dicom_node.web.text_models import Attribute, Element, json_model, native_model
from tests.unit.web.stow_port import Stow, body, images


def native_by_dcmtk(answer: Dataset, folder: Path) -> ElementTree.Element:
    """What dcmtk makes of a data set."""
    answer.save_as(folder / "answer", enforce_file_format=False, implicit_vr=False, little_endian=True)
    command = ["dcm2xml", "-f", "-te", "-nat", "+Xn", str(folder / "answer")]
    return ElementTree.fromstring(subprocess.run(command, capture_output=True, check=True).stdout)


def structure(element: ElementTree.Element) -> object:
    """Names, attributes, order and text; not the line ends between elements."""
    text = (element.text or "").strip() if len(element) else element.text
    return element.tag, dict(element.attrib), text.strip() if text else "", [structure(child) for child in element]


def test_a_client_that_wants_xml_gets_what_dcmtk_makes_of_the_json(stow: Stow, tmp_path: Path) -> None:
    first, second, third = images(3)
    whole = body(first, second[:-7], b"no file", third)
    in_json, in_xml = (stow.post(whole, Accept=one) for one in (JSON_TYPE, XML_TYPE))
    assert [one.status_code for one in (in_json, in_xml)] == [202, 202]
    assert (in_json.headers["Content-Type"], in_xml.headers["Content-Type"]) == (JSON_TYPE, XML_TYPE)
    assert in_xml.content.startswith(b'<?xml version="1.0" encoding="UTF-8"?>')
    answer = Dataset.from_json(in_json.json())
    assert len(answer) == 4, "stored, failed and other failures, and an empty Retrieve URL"
    assert structure(ElementTree.fromstring(in_xml.content)) == structure(native_by_dcmtk(answer, tmp_path))


def test_every_failure_reason_survives_xml(tmp_path: Path) -> None:
    response = StoreResponse(media_type=XML_TYPE)
    for number, status in enumerate(StoreStatus):
        response.refuse(SopReference(sop_class_uid="1.2", sop_instance_uid=f"1.2.{number + 1}"), status)
    written = ElementTree.fromstring(response.document())
    response.media_type = JSON_TYPE
    assert structure(written) == structure(native_by_dcmtk(Dataset.from_json(response.document().decode()), tmp_path))


@pytest.mark.parametrize(
    "attribute", [one for one in vars(store_response).values() if isinstance(one, Attribute)], ids=lambda one: one.tag
)
def test_attributes_are_those_of_ps3_6(attribute: Attribute) -> None:
    assert attribute.keyword == keyword_for_tag(attribute.tag)
    assert attribute.vr == dictionary_VR(attribute.tag)
    assert attribute.tag == attribute.tag.upper()


def test_values_cannot_break_the_xml() -> None:
    nasty = "<DicomAttribute/>&\"']]><!--"
    elements = [Element(Attribute("00081155", "UI", "ReferencedSOPInstanceUID"), [nasty])]
    (element,) = ElementTree.fromstring(native_model(elements))
    (value,) = element
    assert (value.text, list(value)) == (nasty, [])
    assert json_model(elements) == {"00081155": {"vr": "UI", "Value": [nasty]}}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON_TYPE),
        ("*/*", JSON_TYPE),
        ("application/*", JSON_TYPE),
        ("application/json", JSON_TYPE),
        ("application/xml", XML_TYPE),
        ("APPLICATION/DICOM+XML", XML_TYPE),
        ("application/dicom+xml, application/dicom+json", JSON_TYPE),
        ("application/dicom+xml, application/dicom+json;q=0.9", XML_TYPE),
        ("application/dicom+xml;q=0.2, application/dicom+json;q=0.1", XML_TYPE),
        ("application/dicom+json;q=0, */*;q=0.5", XML_TYPE),
        ("application/dicom+xml, */*;q=0.1", XML_TYPE),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON_TYPE),
        ("application/dicom+xml; charset=utf-8; q=1", XML_TYPE),
        ("application/dicom+xml;q=high, application/dicom+json;q=0.1", JSON_TYPE),
        ("application/dicom+xml;q=nan, application/dicom+xml;q=7, application/dicom+xml;q=-1", None),
        ("application/dicom+json;q=0, application/json;q=0", None),
        ("multipart/related; type=application/dicom+xml", None),
        ("text/html", None),
        (", ;q=1, /", None),
    ],
)
def test_which_type_is_chosen(accept: str, expected: str | None) -> None:
    assert chosen(accept, MEDIA_TYPES) == expected


def test_a_client_that_wants_something_else_stores_nothing(stow: Stow) -> None:
    answer = stow.post(body(*images(1)), Accept="text/html;q=0.5, application/dicom+xml;q=0")
    assert answer.status_code == 406
    assert (XML_TYPE in answer.text, JSON_TYPE in answer.text) == (True, True)
    assert stow.held() == 0
