"""Boxes of emboli as a TID 1500 Measurement Report (PS3.16), in a Comprehensive SR (PS3.3 A.35.3).

Owns the encoding that viewers draw: OHIF 3.13 makes a rectangle of each TID 1410 group whose tracking identifier has
its own prefix, whose tracking UID is like no other's, and whose numbers each carry the coordinates that they were
taken from; of anything else it draws nothing, and does not say so. A TID 1500 document without coordinates shows as a
black viewport, so without boxes there is none: ``report.py`` says in words what was found, for every study.

What belongs to an embolus and not to one of its boxes stands below the item that names it, "Embolus 1", which is the
same in all of its groups: that links them. The boxes are the models' own; the outline of an embolus they are not,
which (130400, DCM, "Geometric purpose of region") says.

Flags on purpose, as in ``report.py``: COMPLETE, UNVERIFIED, PRELIMINARY.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    CoordinatesForMeasurement,
    GraphicTypeValues,
    ImageRegion,
    LanguageOfContentItemAndDescendants,
    MeasurementReport,
    NumContentItem,
    ObservationContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    RelationshipTypeValues,
    SourceImageForRegion,
    TrackingIdentifier,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.records import InstanceFacts, ResultKind
from dicom_node.results import codes, wording
from dicom_node.results.content_items import code, concept, container, number, text, uid_reference
from dicom_node.results.document_context import device_observer, evidence, procedures_reported, stand_in_for
from dicom_node.results.emboli import PRESENCES, box_uid, embolus_uid, finding_site, numbers, percentage
from dicom_node.results.provenance import MANUFACTURER, sign
from dicom_node.results.request import ResultRequest
from dicom_node.results.study_header import StudyHeader
from inference.findings import Box, Condition, Embolus
from inference.volume import Volume

RECTANGLE: Final = "Cornerstone3DTools@^0.1.0:RectangleROI"
"""Before the name in every tracking identifier. OHIF up to 3.11 draws no region without it; others read past it."""
_PROPERTY = RelationshipTypeValues.HAS_PROPERTIES


def build_measurements(request: ResultRequest, header: StudyHeader) -> Dataset | None:
    """The measurement report of a study, or ``None`` where there is no box."""
    if request.volume is None or not any(embolus.boxes for embolus in request.findings.emboli):
        return None
    used = _used(request)
    document = ComprehensiveSR(
        evidence=[stand_in_for(request, facts) for facts in used],
        content=_content(request, header, request.volume)[0],
        series_instance_uid=request.uid("measurements/series"),
        series_number=1,
        sop_instance_uid=request.uid("measurements/instance"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_verified=False,
        is_final=False,
    )
    document.CurrentRequestedProcedureEvidenceSequence = [evidence(request.study_uid, used)]
    sign(document, ResultKind.MEASUREMENTS, request, header)
    return document


def measured(name: Code, value: float, unit: Code, region: ImageRegion) -> NumContentItem:
    """A number with the region it was taken from, as TID 320 ties them: NUM, INFERRED FROM, SCOORD.

    For a TID 1410 group, whose own region stands beside its numbers; highdicom refuses it there, yet OHIF looks for a
    region below each number and draws nothing where one of them has none.
    """
    (source,) = region.ContentSequence
    item = number(name, value, unit)
    item.ContentSequence = ContentSequence(
        [
            CoordinatesForMeasurement(
                graphic_type=GraphicTypeValues.POLYLINE,
                graphic_data=region.value,
                source_image=SourceImageForRegion.from_dataset(source),
                purpose=concept(codes.SOURCE_OF_MEASUREMENT),
            )
        ]
    )
    return item


def corners(box: Box) -> NDArray[np.float64]:
    """The box as a closed line (5, 2), column and row: top left, top right, bottom right, bottom left, top left.

    Both count from the outer corner of the first pixel (PS3.3 C.18.6.1.1), so nothing is shifted.
    """
    left, top, right, bottom = box.box_xyxy_px
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])


def _content(request: ResultRequest, header: StudyHeader, volume: Volume) -> MeasurementReport:
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=device_observer(request)),
        procedure_reported=[concept(one) for one in procedures_reported(request, header)],
        imaging_measurements=[
            _group(embolus, box, request, volume) for embolus in request.findings.emboli for box in embolus.boxes
        ],
        title=concept(codes.IMAGING_MEASUREMENT_REPORT),
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(concept(codes.ENGLISH)),
    )
    content[0].ContentSequence.append(_evaluations(request))
    return content


def _group(
    embolus: Embolus, box: Box, request: ResultRequest, volume: Volume
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """TID 1410: one box on its slice. The numbers are appended by hand, see ``measured``."""
    region = ImageRegion(
        graphic_type=GraphicTypeValues.POLYLINE, graphic_data=corners(box), source_image=_source(request, box)
    )
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=box_uid(request, embolus, box), identifier=f"{RECTANGLE}:{wording.embolus_name(embolus)}"
        ),
        referenced_region=region,
        finding_type=concept(codes.PULMONARY_EMBOLISM),
        finding_sites=[finding_site(embolus)],
        algorithm_id=_algorithm(request),
        geometric_purpose=concept(codes.BOUNDED_BY),
    )
    items = group[0].ContentSequence
    items.append(_link(embolus, request))
    # What OHIF's list of measurements calls the box.
    items.append(text(codes.COMMENT, wording.embolus_label(embolus)))
    items.extend(_numbers(box, region, volume))
    return group


def _link(embolus: Embolus, request: ResultRequest) -> ContentItem:
    """The embolus that a box belongs to, with what is said of it as a whole."""
    link = text(codes.LESION_IDENTIFIER, wording.embolus_name(embolus))
    link.ContentSequence = ContentSequence(
        [
            uid_reference(codes.TRACKING_UID, embolus_uid(request, embolus), _PROPERTY),
            *numbers(embolus, _PROPERTY),
        ]
    )
    return link


def _numbers(box: Box, region: ImageRegion, volume: Volume) -> Iterator[NumContentItem]:
    left, top, right, bottom = box.box_xyxy_px
    column_mm, row_mm, _ = volume.spacing_xyz_mm
    width_mm, height_mm = (right - left) * column_mm, (bottom - top) * row_mm
    yield measured(codes.CERTAINTY_OF_FINDING, percentage(box.score), codes.PERCENT, region)
    yield measured(codes.WIDTH, round(width_mm, 1), codes.MILLIMETRE, region)
    yield measured(codes.HEIGHT, round(height_mm, 1), codes.MILLIMETRE, region)
    # OHIF lists the area of a rectangle; until the slice is opened it knows this one only.
    yield measured(codes.AREA, round(width_mm * height_mm, 1), codes.SQUARE_MILLIMETRE, region)


def _evaluations(request: ResultRequest) -> ContainerContentItem:
    """What is said of the whole study, beside its boxes."""
    items: list[ContentItem] = []
    classification = request.findings.classification(Condition.PULMONARY_EMBOLISM)
    if classification is not None:
        presence = code(codes.PULMONARY_EMBOLISM, PRESENCES[classification.presence])
        probability = number(
            codes.PROBABILITY, percentage(classification.probability), codes.PERCENT, relationship=_PROPERTY
        )
        presence.ContentSequence = ContentSequence([probability])
        items.append(presence)
    items += [text(codes.CONCLUSION, sentence) for sentence in wording.conclusions(request.findings)]
    items.append(text(codes.COMMENT, wording.RESEARCH_USE_LONG))
    return container(codes.QUALITATIVE_EVALUATIONS, items)


def _algorithm(request: ResultRequest) -> AlgorithmIdentification:
    """TID 4019. A box is the work of all models of the pipeline together, so the pipeline is the algorithm."""
    return AlgorithmIdentification(
        name=request.findings.pipeline,
        version=request.software_version,
        manufacturer=MANUFACTURER,
        parameters=[wording.model_name(model) for model in request.findings.models],
    )


def _source(request: ResultRequest, box: Box) -> SourceImageForRegion:
    """The image of the box's slice; of several frames, the one that the slice came from."""
    source = request.sources[box.slice_index]
    is_multi_frame = len(request.source_facts[box.slice_index].frames) > 1
    return SourceImageForRegion(
        referenced_sop_class_uid=source.sop_class_uid,
        referenced_sop_instance_uid=source.sop_instance_uid,
        referenced_frame_numbers=[source.frame_number] if is_multi_frame else None,
    )


def _used(request: ResultRequest) -> list[InstanceFacts]:
    """Each instance that holds a box, once: the whole series would make the document many times larger."""
    facts = request.source_facts
    used = {box.slice_index for embolus in request.findings.emboli for box in embolus.boxes}
    return list({facts[k].sop_instance_uid: facts[k] for k in sorted(used)}.values())
