"""What STOW-RS answers: the Store Instances Response Module (PS3.18 section I.2) in the DICOM JSON Model (annex F)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dicom_node.errors import StoreStatus
from dicom_node.records import SopReference

MEDIA_TYPE = "application/dicom+json"

_REFERENCED_SOP_CLASS_UID = "00081150"
_REFERENCED_SOP_INSTANCE_UID = "00081155"
_RETRIEVE_URL = "00081190"
_FAILURE_REASON = "00081197"
_FAILED_SOP_SEQUENCE = "00081198"
_REFERENCED_SOP_SEQUENCE = "00081199"
_OTHER_FAILURES_SEQUENCE = "0008119A"


@dataclass(slots=True)
class StoreResponse:
    """What became of each part of a request so far. Instances are named by their file meta information."""

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

    def document(self) -> dict[str, object]:
        """The module; Retrieve URL is empty, because the node answers no WADO-RS."""
        module: dict[str, object] = {_RETRIEVE_URL: {"vr": "UR"}}
        if self.failed:
            module[_FAILED_SOP_SEQUENCE] = _sequence([_named(one) | _reason(why) for one, why in self.failed])
        if self.stored:
            module[_REFERENCED_SOP_SEQUENCE] = _sequence(
                [_named(one) | {_RETRIEVE_URL: {"vr": "UR"}} for one in self.stored]
            )
        if self.other_failures:
            module[_OTHER_FAILURES_SEQUENCE] = _sequence([_reason(why) for why in self.other_failures])
        return module


def _named(one: SopReference) -> dict[str, object]:
    return {
        _REFERENCED_SOP_CLASS_UID: {"vr": "UI", "Value": [one.sop_class_uid]},
        _REFERENCED_SOP_INSTANCE_UID: {"vr": "UI", "Value": [one.sop_instance_uid]},
    }


def _reason(status: StoreStatus) -> dict[str, object]:
    return {_FAILURE_REASON: {"vr": "US", "Value": [int(status)]}}


def _sequence(items: Sequence[dict[str, object]]) -> dict[str, object]:
    return {"vr": "SQ", "Value": list(items)}
