"""What STOW-RS answers: the Store Instances Response Module (PS3.18 section I.2), as JSON or XML."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from dicom_node.errors import StoreStatus
from dicom_node.records import SopReference
from dicom_node.web.text_models import Attribute, Element, json_model, native_model

JSON_TYPE: Final = "application/dicom+json"
"""The default of DICOMweb (PS3.18 section 8.7.3)."""
XML_TYPE: Final = "application/dicom+xml"
MEDIA_TYPES: Final = MappingProxyType({JSON_TYPE: ("application/json",), XML_TYPE: ("application/xml",)})
"""What an answer can be, with other names that ask for it; the first is preferred."""

_SOP_CLASS_UID = Attribute("00081150", "UI", "ReferencedSOPClassUID")
_SOP_INSTANCE_UID = Attribute("00081155", "UI", "ReferencedSOPInstanceUID")
_RETRIEVE_URL = Attribute("00081190", "UR", "RetrieveURL")
_FAILURE_REASON = Attribute("00081197", "US", "FailureReason")
_FAILED_SOP_SEQUENCE = Attribute("00081198", "SQ", "FailedSOPSequence")
_REFERENCED_SOP_SEQUENCE = Attribute("00081199", "SQ", "ReferencedSOPSequence")
_OTHER_FAILURES_SEQUENCE = Attribute("0008119A", "SQ", "OtherFailuresSequence")


@dataclass(slots=True)
class StoreResponse:
    """What became of each part of a request so far. Instances are named by their file meta information."""

    media_type: str = JSON_TYPE
    """One of ``MEDIA_TYPES``."""
    stored: list[SopReference] = field(default_factory=list)
    failed: list[tuple[SopReference, StoreStatus]] = field(default_factory=list)
    other_failures: list[StoreStatus] = field(default_factory=list)
    """Of parts that name no SOP instance."""

    def refuse(self, reference: SopReference, status: StoreStatus) -> None:
        """Note that a part was not stored."""
        if not reference.sop_instance_uid or not reference.sop_class_uid:
            self.other_failures.append(status)
        else:
            self.failed.append((reference, status))

    @property
    def refused(self) -> int:
        """Parts that were not stored."""
        return len(self.failed) + len(self.other_failures)

    def http_status(self) -> int:
        """Of a request that was read to its end (PS3.18 table 10.5.3-1). 503: the same request may succeed later."""
        if StoreStatus.OUT_OF_RESOURCES in (*(status for _, status in self.failed), *self.other_failures):
            return 503
        if not self.refused:
            return 200
        return 202 if self.stored else 409

    def document(self) -> bytes:
        """The module, of its media type; Retrieve URL is empty, because the node answers no WADO-RS."""
        elements = self._elements()
        return native_model(elements) if self.media_type == XML_TYPE else json.dumps(json_model(elements)).encode()

    def _elements(self) -> Sequence[Element]:
        failed = [(*_named(one), _reason(why)) for one, why in self.failed]
        stored = [(*_named(one), Element(_RETRIEVE_URL)) for one in self.stored]
        others = [(_reason(why),) for why in self.other_failures]
        sequences = (
            Element(_FAILED_SOP_SEQUENCE, items=failed),
            Element(_REFERENCED_SOP_SEQUENCE, items=stored),
            Element(_OTHER_FAILURES_SEQUENCE, items=others),
        )
        return [Element(_RETRIEVE_URL), *(sequence for sequence in sequences if sequence.items)]


def _named(one: SopReference) -> tuple[Element, Element]:
    return Element(_SOP_CLASS_UID, [one.sop_class_uid]), Element(_SOP_INSTANCE_UID, [one.sop_instance_uid])


def _reason(status: StoreStatus) -> Element:
    return Element(_FAILURE_REASON, [int(status)])
