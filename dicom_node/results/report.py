"""The report: a Comprehensive SR (PS3.3 A.35.3) for every study, also for one that was not analysed.

Not TID 1500: viewers take such a document for a set of measurements to draw, and show one without coordinates as a
black viewport, while any other title prints as a tree of text. What matters stands first, in leaves of containers,
because leaves below leaves are not printed; those carry what machines read (zone scores, series UIDs).

Flags on purpose: COMPLETE, because nothing will be added; UNVERIFIED, because no person has looked at it; PRELIMINARY,
because it is never the definitive means of communicating the findings (PS3.3 C.17.2).
"""

from highdicom.sr import ComprehensiveSR, ContainerContentItem, ContentItem, ContentSequence, RelationshipTypeValues
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.records import ResultKind
from dicom_node.results import codes, wording
from dicom_node.results.content_items import code, concept, container, number, text, uid_reference
from dicom_node.results.document_context import evidence, procedures_reported
from dicom_node.results.emboli import PRESENCES, numbers, percentage
from dicom_node.results.provenance import MANUFACTURER, MODEL_NAME, serial_number, sign, stand_in
from dicom_node.results.regions import LATERALITIES
from dicom_node.results.request import FIVE_LOBES, ResultRequest
from dicom_node.results.study_header import StudyHeader
from dicom_node.uids import device_uid
from inference.findings import (
    Condition,
    Embolus,
    Findings,
    Lesion,
    ModelIdentity,
    Presence,
    SeverityScore,
    Status,
)

MAXIMUM_LESIONS = 20
"""Listed one by one, the largest first; the others are counted. A reader looks at no more."""
MAXIMUM_EMBOLI = 20
"""Listed one by one, the most probable first; the others are counted. Their boxes are all in the measurements."""

_ASSESSMENTS = {
    Status.POSITIVE: (codes.POSITIVE, codes.SUCCEEDED_WITH_FINDINGS),
    Status.NEGATIVE: (codes.NEGATIVE, codes.SUCCEEDED_WITHOUT_FINDINGS),
    Status.NOT_ANALYSED: (codes.NOT_PERFORMED, codes.NONE_SUCCEEDED),
}


def build_report(request: ResultRequest, header: StudyHeader) -> Dataset:
    """The report of a study."""
    root = ContainerContentItem(name=concept(codes.DIAGNOSTIC_IMAGING_REPORT), is_content_continuous=False)
    root.ContentSequence = ContentSequence([*_sections(request), *_context(request, header)])
    uid = request.uid("report/instance")
    report = ComprehensiveSR(
        evidence=[stand_in(request, series_uid=uid, sop_instance_uid=uid)],
        content=root,
        series_instance_uid=request.uid("report/series"),
        series_number=1,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_verified=False,
        is_final=False,
    )
    del report.CurrentRequestedProcedureEvidenceSequence
    if any(request.instances):
        # All that was received: what the report rests on, also where it says that none of it could be analysed.
        received = (stored.facts for stored in request.instances)
        report.CurrentRequestedProcedureEvidenceSequence = [evidence(request.study_uid, received)]
    sign(report, ResultKind.REPORT, request, header)
    return report


def _sections(request: ResultRequest) -> list[ContentItem]:
    sections = [_summary(request)]
    if request.findings.classifications or request.findings.emboli:
        sections.append(_embolism(request))
    if request.findings.involvement is not None or request.findings.severity:
        sections.append(_severity(request))
    if request.findings.lesions:
        sections.append(_lesions(request))
    if request.findings.models:
        sections.append(container(codes.MODELS, [_model(model) for model in request.findings.models]))
    if request.decisions:
        sections.append(_decisions(request))
    return sections


def _summary(request: ResultRequest) -> ContentItem:
    findings = request.findings
    assessment, processing = _assessment(findings)
    return container(
        codes.SUMMARY,
        [
            code(codes.OVERALL_ASSESSMENT, assessment),
            *(text(codes.CONCLUSION, sentence) for sentence in wording.conclusions(findings)),
            *(text(codes.COMMENT, note) for note in findings.notes),
            code(codes.PROCESSING_SUMMARY, processing),
            text(codes.COMMENT, wording.RESEARCH_USE_LONG),
        ],
    )


def _assessment(findings: Findings) -> tuple[Code, Code]:
    """How the study is judged as a whole, and how the processing ended."""
    judgement, processing = _ASSESSMENTS[findings.status]
    embolism = findings.classification(Condition.PULMONARY_EMBOLISM)
    if embolism is not None and embolism.presence is Presence.INDETERMINATE:
        judgement = codes.UNDETERMINED
    return judgement, processing


def _embolism(request: ResultRequest) -> ContentItem:
    items: list[ContentItem] = []
    embolism = request.findings.classification(Condition.PULMONARY_EMBOLISM)
    if embolism is not None:
        items.append(code(codes.PULMONARY_EMBOLISM, PRESENCES[embolism.presence]))
        items.append(number(codes.PROBABILITY, percentage(embolism.probability), codes.PERCENT))
    items.append(text(codes.COMMENT, wording.UNCALIBRATED))
    emboli = request.findings.emboli
    items += [_embolus(embolus, request) for embolus in emboli[:MAXIMUM_EMBOLI]]
    others = emboli[MAXIMUM_EMBOLI:]
    if others:
        items.append(text(codes.COMMENT, f"{len(others)} less probable emboli not listed."))
    return container(codes.FINDINGS, items)


def _embolus(embolus: Embolus, request: ResultRequest) -> ContentItem:
    laterality = [] if embolus.side is None else [code(codes.LATERALITY, LATERALITIES[embolus.side])]
    return container(
        codes.EMBOLUS,
        [
            text(codes.LESION_IDENTIFIER, f"{embolus.number}: {wording.embolus_place(embolus, request)}"),
            *numbers(embolus),
            code(codes.FINDING_SITE, codes.PULMONARY_ARTERY),
            *laterality,
        ],
    )


def _severity(request: ResultRequest) -> ContentItem:
    items: list[ContentItem] = []
    involvement = request.findings.involvement
    if involvement is not None:
        for name, share in (
            (codes.TOTAL_INVOLVEMENT, involvement.total_percent),
            (codes.RIGHT_INVOLVEMENT, involvement.right_percent),
            (codes.LEFT_INVOLVEMENT, involvement.left_percent),
        ):
            if share is not None:
                items.append(number(name, round(share, 1), codes.PERCENT))
        items.append(number(codes.INFECTED_VOLUME, round(involvement.infected_ml, 1), codes.MILLILITRE))
    for score in request.findings.severity:
        items += _score(score)
    return container(codes.SEVERITY, items)


def _score(score: SeverityScore) -> list[ContentItem]:
    name = codes.FIVE_LOBE_SCORE if len(score.zones) == FIVE_LOBES else codes.SIX_ZONE_SCORE
    total = number(name, score.score, codes.POINTS)
    if score.zones:
        total.ContentSequence = ContentSequence(
            [
                number(codes.zone_score(zone.name), zone.score, codes.POINTS, RelationshipTypeValues.INFERRED_FROM)
                for zone in score.zones
            ]
        )
    table = [text(codes.FINDING, wording.zone_table(score))] if score.zones else []
    return [total, *table, text(codes.METHOD_CITATION, f"{score.scale}. {score.citation}")]


def _lesions(request: ResultRequest) -> ContentItem:
    lesions = request.findings.lesions
    items = [_lesion(lesion, request) for lesion in lesions[:MAXIMUM_LESIONS]]
    others = lesions[MAXIMUM_LESIONS:]
    if others:
        volume = wording.millilitres(sum(lesion.volume_ml for lesion in others))
        items.append(text(codes.COMMENT, f"{len(others)} smaller lesions not listed, together {volume}."))
    return container(codes.FINDINGS, items)


def _lesion(lesion: Lesion, request: ResultRequest) -> ContentItem:
    return container(
        codes.LESION,
        [
            text(codes.LESION_IDENTIFIER, f"{lesion.number}: {wording.lesion_place(lesion, request)}"),
            number(codes.VOLUME, round(lesion.volume_ml, 1 if lesion.volume_ml >= 1 else 3), codes.MILLILITRE),
            number(codes.MEAN_ATTENUATION, round(lesion.mean_hu), codes.HOUNSFIELD),
            code(codes.FINDING_SITE, codes.LUNG),
            code(codes.LATERALITY, LATERALITIES[lesion.side]),
        ],
    )


def _model(model: ModelIdentity) -> ContentItem:
    return container(
        codes.MODEL,
        [
            text(codes.ALGORITHM_NAME, model.name),
            text(codes.ALGORITHM_VERSION, model.version),
            text(codes.ALGORITHM_PARAMETERS, f"sha256 of the weights {model.digest[: wording.SHOWN_DIGEST]}"),
            text(codes.TRAINED_ON, f"{model.trained_on}. {wording.RESEARCH_USE}"),
            text(codes.LICENCE, model.licence),
        ],
    )


def _decisions(request: ResultRequest) -> ContentItem:
    by_uid = {series.series_uid: series for series in request.series}
    items = []
    for decision in request.decisions:
        name = wording.series_name(by_uid.get(decision.series_uid))
        item = text(codes.SERIES, f"{name}: {decision.reason}")
        item.ContentSequence = ContentSequence(
            [uid_reference(codes.SERIES_INSTANCE_UID, decision.series_uid, RelationshipTypeValues.HAS_PROPERTIES)]
        )
        items.append(item)
    return container(codes.SERIES_DECISIONS, items)


def _context(request: ResultRequest, header: StudyHeader) -> list[ContentItem]:
    """Language, procedure and observer. Last, though templates put them first: nobody opens the report for them."""
    modifier, context = RelationshipTypeValues.HAS_CONCEPT_MOD, RelationshipTypeValues.HAS_OBS_CONTEXT
    return [
        text(codes.SOFTWARE_VERSION, f"{MANUFACTURER} {request.software_version}"),
        code(codes.LANGUAGE, codes.ENGLISH, modifier),
        *(code(codes.PROCEDURE_REPORTED, procedure, modifier) for procedure in procedures_reported(request, header)),
        code(codes.OBSERVER_TYPE, codes.DEVICE, context),
        uid_reference(codes.DEVICE_UID, device_uid(request.settings_digest), context),
        text(codes.DEVICE_NAME, MODEL_NAME, context),
        text(codes.DEVICE_MANUFACTURER, MANUFACTURER, context),
        text(codes.DEVICE_MODEL, MODEL_NAME, context),
        text(codes.DEVICE_SERIAL_NUMBER, serial_number(request), context),
    ]
