"""The key images: a Key Object Selection Document (PS3.3 A.35.4, PS3.16 TID 2010) of the slices worth opening first.

Only for positive studies with something to point at. Titled (113000, DCM, "Of Interest") of CID 7010: the plain title,
which every viewer with key images shows; "Best In Set" would speak of the quality of the images, and the titles for a
recipient ("For Referring Provider") of a decision that no person has taken.

Template and order of its rows as they stand there, because TID 2010 may not be extended. Each slice is a reference of
its own, in the order from head to feet, so that viewers step through them alike for single and multi-frame images.
"""

from typing import Final

import numpy as np
from highdicom.ko import KeyObjectSelectionDocument
from highdicom.sr import (
    ContainerContentItem,
    ContentSequence,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
)
from pydicom.dataset import Dataset

from dicom_node.records import ResultKind
from dicom_node.results import codes, wording
from dicom_node.results.content_items import CONTAINS, concept, text
from dicom_node.results.document_context import device_observer, stand_in_for
from dicom_node.results.key_slices import head_first, key_slices
from dicom_node.results.picture import COLUMNS, ROWS
from dicom_node.results.provenance import MANUFACTURER, sign
from dicom_node.results.request import ResultRequest
from dicom_node.results.study_header import StudyHeader
from inference.findings import Region, Status

REGION_SLICES: Final = COLUMNS * ROWS
"""Slices for the infected region at most: those that the summary picture shows."""
EMBOLUS_SLICES: Final = 12
"""Slices for emboli at most, one an embolus. A list that is longer than a reader's patience points at nothing."""
TEMPLATE: Final = "2010"


def build_key_objects(request: ResultRequest, header: StudyHeader) -> Dataset | None:
    """The key images of a study; ``None`` where there is nothing to point at."""
    volume = request.volume
    if request.findings.status is not Status.POSITIVE or volume is None:
        return None
    region, emboli = _region_slices(request), _embolus_slices(request)
    slices = head_first(sorted({*region, *emboli}), volume.index_to_patient)
    if not slices:
        return None
    facts = request.source_facts
    root = ContainerContentItem(name=concept(codes.OF_INTEREST), template_id=TEMPLATE, is_content_continuous=False)
    root.ContentSequence = ContentSequence(
        [
            *LanguageOfContentItemAndDescendants(concept(codes.ENGLISH)),
            *device_observer(request),
            text(codes.KEY_OBJECT_DESCRIPTION, _description(len(region), len(emboli))),
            *(_reference(request, k) for k in slices),
        ]
    )
    document = KeyObjectSelectionDocument(
        evidence=[stand_in_for(request, facts[k]) for k in _one_an_instance(request, slices)],
        content=ContentSequence([root], is_root=True),  # type: ignore[arg-type]  # it reads the root item only
        series_instance_uid=request.uid("key_objects/series"),
        series_number=1,
        sop_instance_uid=request.uid("key_objects/instance"),
        instance_number=1,
        manufacturer=MANUFACTURER,
    )
    sign(document, ResultKind.KEY_OBJECTS, request, header)
    return document


def _region_slices(request: ResultRequest) -> list[int]:
    infected = request.mask(Region.INFECTED_REGION)
    if infected is None:
        return []
    areas = np.count_nonzero(infected.array_zyx, axis=(1, 2))
    return key_slices(areas, np.zeros_like(areas), REGION_SLICES)


def _embolus_slices(request: ResultRequest) -> list[int]:
    """The slice of the best box of each embolus, the most probable emboli first."""
    best = [max(embolus.boxes, key=lambda box: box.score).slice_index for embolus in request.findings.emboli]
    return list(dict.fromkeys(best))[:EMBOLUS_SLICES]


def _description(region_slices: int, embolus_slices: int) -> str:
    """Why these images: a sentence for each sort of finding, then what every result says about itself."""
    reasons = []
    if region_slices:
        reasons.append(
            "Images with the largest area of ground-glass opacity or consolidation in each part of its extent."
        )
    if embolus_slices:
        reasons.append(
            "Images with the most certain box of each suspected pulmonary embolus, the most probable emboli."
        )
    return " ".join([*reasons, f"Chosen by {MANUFACTURER}.", wording.RESEARCH_USE_LONG])


def _reference(request: ResultRequest, k: int) -> ImageContentItem:
    source = request.sources[k]
    is_multi_frame = len(request.source_facts[k].frames) > 1
    return ImageContentItem(
        name=concept(codes.SOURCE),
        referenced_sop_class_uid=source.sop_class_uid,
        referenced_sop_instance_uid=source.sop_instance_uid,
        referenced_frame_numbers=[source.frame_number] if is_multi_frame else None,
        relationship_type=CONTAINS,
    )


def _one_an_instance(request: ResultRequest, slices: list[int]) -> list[int]:
    """Of slices that are frames of one instance, the first: the evidence names an instance once."""
    return list({request.sources[k].sop_instance_uid: k for k in reversed(slices)}.values())[::-1]
