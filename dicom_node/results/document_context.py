"""What structured reports say about themselves: evidence, procedure reported and observer.

Owns the parts that all our documents share (PS3.3 C.17.2.3, PS3.16 TID 1004).
"""

from collections.abc import Iterable

from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.records import InstanceFacts
from dicom_node.results import codes
from dicom_node.results.content_items import concept
from dicom_node.results.provenance import MANUFACTURER, MODEL_NAME, serial_number, stand_in
from dicom_node.results.request import ResultRequest
from dicom_node.results.study_header import StudyHeader
from dicom_node.uids import device_uid


def evidence(study_uid: str, instances: Iterable[InstanceFacts]) -> Dataset:
    """One item of Current Requested Procedure Evidence Sequence (0040,A375): the instances, series by series."""
    study = Dataset()
    study.StudyInstanceUID = study_uid
    by_series: dict[str, list[Dataset]] = {}
    for facts in instances:
        by_series.setdefault(facts.series_uid, []).append(_reference(facts))
    study.ReferencedSeriesSequence = []
    for series_uid, references in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedSOPSequence = references
        study.ReferencedSeriesSequence.append(series)
    return study


def _reference(facts: InstanceFacts) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = facts.sop_class_uid
    reference.ReferencedSOPInstanceUID = facts.sop_instance_uid
    return reference


def procedures_reported(request: ResultRequest, header: StudyHeader) -> list[Code]:
    """What the study says it is, else what its images are."""
    stated = [
        Code(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
        for item in header.attributes.get("ProcedureCodeSequence", [])
    ]
    if stated:
        return stated
    is_ct = any(instance.facts.modality == "CT" for instance in request.instances)
    return [codes.COMPUTED_TOMOGRAPHY if is_ct else codes.IMAGING_PROCEDURE]


def stand_in_for(request: ResultRequest, facts: InstanceFacts) -> Dataset:
    """An instance as highdicom wants evidence to be shown: identifiers alone."""
    image = stand_in(request, series_uid=facts.series_uid, sop_instance_uid=facts.sop_instance_uid)
    image.SOPClassUID = facts.sop_class_uid
    return image


def device_observer(request: ResultRequest) -> ObserverContext:
    """TID 1004: the node as the observer. Nobody else has looked."""
    return ObserverContext(
        observer_type=concept(codes.DEVICE),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device_uid(request.settings_digest),
            name=MODEL_NAME,
            manufacturer_name=MANUFACTURER,
            model_name=MODEL_NAME,
            serial_number=serial_number(request),
        ),
    )
