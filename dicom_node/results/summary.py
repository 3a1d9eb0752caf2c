"""The summary picture: one Secondary Capture (PS3.3 A.8.1) that any viewer shows, for every study.

Owns which slices and texts stand on the page; ``picture.py`` draws it. It holds no patient identifiers, and no text of
the source images, where such may hide.
"""

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.records import ResultKind
from dicom_node.results import wording
from dicom_node.results.key_slices import Presentation, head_first, key_slices, presentation
from dicom_node.results.picture import BOX, COLUMNS, EMBOLISM_WINDOW_HU, RGB, ROWS, WINDOW_HU, Page, Tile, draw_page
from dicom_node.results.provenance import MANUFACTURER, local_moment, sign
from dicom_node.results.regions import REGIONS
from dicom_node.results.request import FIVE_LOBES, SIX_ZONES, ResultRequest
from dicom_node.results.study_header import StudyHeader
from inference.findings import Presence, Region, Status
from inference.volume import Volume

_MARGIN_MM = 12.0
"""Shown around the lungs."""
_LUNGS = (Region.LEFT_LUNG, Region.RIGHT_LUNG)
_OUTCOME_COLOURS: dict[str, RGB] = {
    wording.OUTCOMES[Status.POSITIVE]: (255, 138, 60),
    wording.OUTCOMES[Status.NEGATIVE]: (120, 210, 140),
    wording.OUTCOMES[Status.NOT_ANALYSED]: (178, 184, 194),
    wording.PRESENCES[Presence.INDETERMINATE]: (250, 204, 80),
}


def build_summary(request: ResultRequest, header: StudyHeader) -> Dataset:
    """The summary picture of a study."""
    pixels, shown_slices = _pixels(request, header)
    summary = SCImage(
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        study_instance_uid=request.study_uid,
        series_instance_uid=request.uid("summary/series"),
        series_number=1,
        sop_instance_uid=request.uid("summary/instance"),
        instance_number=1,
        manufacturer=MANUFACTURER,
    )
    # A page of several slices and text has no orientation of its own.
    summary["PatientOrientation"].value = ""
    if request.volume is not None:
        summary.BodyPartExamined = "CHEST"  # not paired, so Laterality must be absent
    else:
        summary.Laterality = ""  # unknown, which must be said
    summary.BurnedInAnnotation = "NO"
    summary.ImageComments = " ".join([*wording.conclusions(request.findings), wording.RESEARCH_USE])[:10240]
    marks = "contours and boxes" if request.findings.emboli else "contours"
    summary.DerivationDescription = f"Key slices with {marks}, and the result of the analysis"
    if shown_slices:
        summary.SourceImageSequence = _sources(request, shown_slices)
    sign(summary, ResultKind.SUMMARY, request, header)
    summary.DateOfSecondaryCapture, summary.TimeOfSecondaryCapture = summary.ContentDate, summary.ContentTime
    return summary


def _pixels(request: ResultRequest, header: StudyHeader) -> tuple[NDArray[np.uint8], list[int]]:
    """The page, and the slices shown on it."""
    page = _page(request, header)
    if request.volume is None:
        return draw_page(page, (), None, (slice(None), slice(None))), []
    shown = presentation(request.volume.index_to_patient)
    slices = _slices(request, request.volume)
    tiles = [_tile(request, request.volume, k) for k in slices]
    return draw_page(page, tiles, shown, _crop(request, request.volume, shown)), slices


def _slices(request: ResultRequest, volume: Volume) -> list[int]:
    lungs = _area(request, _LUNGS, volume)
    if _is_of_embolism(request):
        found = _box_scores(request, volume)
        lungs = lungs if lungs.any() else np.ones_like(lungs)  # the other tiles come from all over the chest
    else:
        found = _area(request, (Region.INFECTED_REGION,), volume)
    return head_first(key_slices(found, lungs, COLUMNS * ROWS), volume.index_to_patient)


def _box_scores(request: ResultRequest, volume: Volume) -> NDArray[np.int64]:
    """What the boxes of each slice score together, in thousandths."""
    scores = np.zeros(len(volume.array_zyx), dtype=np.float64)
    for embolus in request.findings.emboli:
        for box in embolus.boxes:
            scores[box.slice_index] += box.score
    return np.ceil(1000 * scores).astype(np.int64)


def _is_of_embolism(request: ResultRequest) -> bool:
    return bool(request.findings.classifications or request.findings.emboli)


def _area(request: ResultRequest, regions: tuple[Region, ...], volume: Volume) -> NDArray[np.int64]:
    """Pixels of the regions in each slice."""
    area = np.zeros(len(volume.array_zyx), dtype=np.int64)
    for region in regions:
        mask = request.mask(region)
        if mask is not None:
            area += np.count_nonzero(mask.array_zyx, axis=(1, 2))
    return area


def _tile(request: ResultRequest, volume: Volume, k: int) -> Tile:
    contours = []
    for region in REGIONS:
        mask = request.mask(region.region)
        if mask is not None:
            width = 2 if region.region is Region.INFECTED_REGION else 1
            contours.append((mask.array_zyx[k], region.colour_rgb, width))
    boxes = [
        (str(embolus.number), box.box_xyxy_px)
        for embolus in request.findings.emboli
        for box in embolus.boxes
        if box.slice_index == k
    ]
    rows, columns = volume.array_zyx.shape[1:]
    _, _, z_mm = volume.patient_mm(index_ijk=((columns - 1) / 2, (rows - 1) / 2, float(k)))
    image = wording.image_range(request, k, k)
    return Tile(
        plane_hu=volume.array_zyx[k],
        contours=tuple(contours),
        boxes=tuple(boxes),
        window_hu=EMBOLISM_WINDOW_HU if _is_of_embolism(request) else WINDOW_HU,
        caption=f"{image}   z {z_mm:+.1f} mm",
    )


def _crop(request: ResultRequest, volume: Volume, shown: Presentation) -> tuple[slice, slice]:
    """The lungs and all boxes with a margin, the same in every tile; the whole slice where there are none found."""
    silhouette = np.zeros(volume.array_zyx.shape[1:], dtype=bool)
    for region in _LUNGS:
        mask = request.mask(region)
        if mask is not None:
            silhouette |= mask.array_zyx.any(axis=0)
    if silhouette.any():
        for box in (box for embolus in request.findings.emboli for box in embolus.boxes):
            left, top, right, bottom = (max(0, int(edge)) for edge in box.box_xyxy_px)
            silhouette[top : bottom + 1, left : right + 1] = True
    turned = shown.apply(silhouette)
    if not turned.any():
        return slice(0, turned.shape[0]), slice(0, turned.shape[1])
    spans = [(int(held[0]), int(held[-1]) + 1) for held in (np.flatnonzero(turned.any(axis=axis)) for axis in (1, 0))]
    # Square in mm as far as the slice reaches, so that the tile is filled.
    lengths_mm = [(stop - start) * mm for (start, stop), mm in zip(spans, shown.pixel_mm, strict=True)]
    half_mm = max(lengths_mm) / 2 + _MARGIN_MM
    rows, columns = (
        _around(span, half_mm / mm, length)
        for span, mm, length in zip(spans, shown.pixel_mm, turned.shape, strict=True)
    )
    return rows, columns


def _around(span: tuple[int, int], half: float, length: int) -> slice:
    """Around the middle of the span, cut at the edges of the slice."""
    middle = sum(span) / 2
    return slice(max(0, round(middle - half)), min(length, round(middle + half)))


def _page(request: ResultRequest, header: StudyHeader) -> Page:
    findings = request.findings
    outcome = wording.outcome(findings)
    score = request.score(SIX_ZONES) or request.score(FIVE_LOBES)
    legend = [(region.label, region.colour_rgb) for region in REGIONS if request.mask(region.region) is not None]
    if findings.emboli:
        legend.append(("Box around an embolus", BOX))
    models = [f"Model {wording.model_name(model)}" for model in findings.models]
    made = local_moment(request, header).strftime("%Y-%m-%d %H:%M")
    return Page(
        title="Chest CT: pulmonary embolism" if _is_of_embolism(request) else "Chest CT: lungs and infected region",
        outcome=outcome.upper(),
        outcome_colour=_OUTCOME_COLOURS[outcome],
        sentences=wording.findings_in_brief(request),
        score=score if score is not None and len(score.zones) == SIX_ZONES else None,
        score_title=wording.score_sentence(score) if score is not None else "",
        legend=tuple(legend),
        details=(*findings.notes, *models, f"{MANUFACTURER} {request.software_version}, {made}"),
        warning=wording.RESEARCH_USE_LONG,
    )


def _sources(request: ResultRequest, slices: list[int]) -> list[Dataset]:
    """Source Image Sequence (0008,2112): the slices on the page."""
    images = []
    for k in slices:
        image = Dataset()
        image.ReferencedSOPClassUID = request.sources[k].sop_class_uid
        image.ReferencedSOPInstanceUID = request.sources[k].sop_instance_uid
        if len(request.source_facts[k].frames) > 1:
            image.ReferencedFrameNumber = request.sources[k].frame_number
        images.append(image)
    return images
