"""What a reader sees: the study with its results in a real OHIF, in front of a real Orthanc, in a real browser.

Screenshots and the browser's console are kept in ``test-out/viewer``, to be looked at.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.ndimage import binary_dilation, binary_erosion, maximum_filter, minimum_filter

from dicom_node.delivery import send_folder
from dicom_node.demonstration.viewer import DEFAULT_VIEWER, StudyInViewer, study_in_viewer
from dicom_node.records import ResultKind
from dicom_node.results import write_results
from dicom_node.results.regions import REGIONS
from inference.findings import Box
from tests.marked_study import BOXES, marked_study
from tests.ohif_page import OhifPage, ohif_page

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
REPOSITORY = Path(__file__).parents[2]
SCREENSHOTS = REPOSITORY / "test-out" / "viewer"
EDGE_PX: Final = 2
"""Voxels this close to the edge of a segment are not judged: its outline and interpolation lie there."""
SAMPLES: Final = 10_000
"""Places that are compared. OHIF writes its own text over 1 % of the picture: of 200 places, chance put 5 in it."""
LEVELS: Final = 8
"""How far a drawn colour may be from what it should be, of 255: rounding, and interpolation of the image."""
LEAST_OPACITY: Final = 0.2
AGREEMENT: Final = 0.98
AGREEMENT_OF_IMAGE: Final = 0.96
"""Less, because the image is interpolated at every edge; its neighbours agree in 0.94 at most."""
EXACT_PX: Final = 1e-3
"""How far a corner may be from where it was found: SCOORD holds single precision."""
LEAST_YELLOW: Final = 100
"""Of red and green over blue, of 255: OHIF draws in yellow."""
SPARED: Final = 0.2
"""Of an edge at each end: OHIF draws a ring around one corner."""
LINE_AGREEMENT: Final = 0.95
LABELS: Final = ["Embolus 1, right lung, 87 %"] * 3 + ["Embolus 2, left lung, 64 %"]
Plane = NDArray[np.bool_]
Pixels = NDArray[np.int64]
Colour = tuple[int, int, int]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyInViewer]:
    folder = tmp_path_factory.mktemp("viewer")
    with study_in_viewer(folder, viewer=REPOSITORY / DEFAULT_VIEWER, slices=40, size_px=256, seed=3) as study:
        yield study


@pytest.fixture(scope="module")
def page() -> Iterator[OhifPage]:
    with ohif_page(SCREENSHOTS) as page:
        yield page


def result_path(shown: StudyInViewer, kind: ResultKind) -> Path:
    return Path(next(one["path"] for one in shown.overview["results"] if one["kind"] == kind.value))


def test_every_segment_is_drawn_in_its_colour(shown: StudyInViewer, page: OhifPage) -> None:
    segmentation = hd.seg.segread(result_path(shown, ResultKind.SEGMENTATION))
    uids = [uid for _, _, uid in segmentation.get_source_image_uids()]
    masks = segmentation.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True).astype(bool)
    images = {image.SOPInstanceUID: image for image in map(pydicom.dcmread, shown.study.images)}
    page.open(shown.images_address())
    first = min(images.values(), key=lambda image: image.InstanceNumber)
    page.until(lambda: drawn_plain(page, first), "the first image")
    page.open_series("SEG")
    segments = page.segments()
    assert [(one.label, one.colour_rgb) for one in segments] == [(one.label, one.colour_rgb) for one in REGIONS]
    assert [one.voxels for one in segments] == masks.sum(axis=(0, 1, 2)).tolist()

    where = int(masks.sum(axis=(1, 2)).min(axis=1).argmax())  # a slice with much of every segment
    page.show_instance(uids[where])
    page.show_only([])
    bare = page.until(lambda: drawn_plain(page, images[uids[where]]), "the image of the slice, without segments")
    places = page.places_px(pixels_mm(images[uids[where]])).reshape(*masks.shape[1:3], 2)
    page.keep("segments-hidden")
    for segment in segments:
        mask = masks[where, :, :, segment.number - 1]
        inside, outside = samples(places, inner(mask)), samples(places, ~binary_dilation(mask, iterations=EDGE_PX))
        page.show_only([segment.number])
        drawn = page.until(
            lambda inside=inside, colour=segment.colour_rgb: coloured(page.screenshot(), bare, inside, colour),
            f"{segment.label} in its colour",
        )
        page.keep(f"segment-{segment.number}")
        assert unchanged(drawn, bare, outside), f"{segment.label} is drawn where it is not"
    page.show_only([segment.number for segment in segments])
    page.open_segmentation_panel()
    page.until(lambda: all(one.label in page.text() for one in segments), "the list of segments")
    page.keep("segmentation")


def test_the_report_is_readable_as_text(shown: StudyInViewer, page: OhifPage) -> None:
    report = pydicom.dcmread(result_path(shown, ResultKind.REPORT))
    lines = list(printed(report))
    assert any(line.startswith("Estimated involvement") for line in lines)
    page.open(shown.result_address(ResultKind.REPORT))
    page.until(lambda: lines[0] in page.text(), "the report")
    page.keep("report")
    text = page.text()
    assert [line for line in lines if line not in text] == []


def test_the_picture_is_shown_as_it_was_made(shown: StudyInViewer, page: OhifPage) -> None:
    picture = pydicom.dcmread(result_path(shown, ResultKind.SUMMARY))
    pixels = picture.pixel_array.astype(np.int64)
    page.open(shown.result_address(ResultKind.SUMMARY))
    page.show_instance(picture.SOPInstanceUID)
    even = (maximum_filter(pixels, (9, 9, 1)) == minimum_filter(pixels, (9, 9, 1))).all(axis=2)
    rows, columns = (chosen[:: len(chosen) // SAMPLES] for chosen in np.nonzero(even))
    # Without a geometry of its own, an image lies in the plane z = 0 with pixels of 1 mm.
    points_mm = np.stack([columns, rows, np.zeros_like(rows)], axis=1).astype(np.float64)
    expected = pixels[rows, columns]

    def as_made() -> bool:
        seen = at(page.screenshot(), page.places_px(points_mm))
        return bool((np.abs(seen - expected).max(axis=1) <= LEVELS).mean() >= AGREEMENT)

    page.until(as_made, "the picture")
    page.keep("picture")


def test_every_box_is_drawn_where_it_was_found(shown: StudyInViewer, page: OhifPage, tmp_path: Path) -> None:
    request = marked_study(shown.study.folder, scratch=tmp_path)
    (measurements,) = (one for one in write_results(request, tmp_path / "out") if one.kind is ResultKind.MEASUREMENTS)
    to_send = tmp_path / "measurements"
    to_send.mkdir()
    measurements.path.rename(to_send / measurements.path.name)
    assert [outcome.accepted for outcome in send_folder(to_send, shown.receiver)] == [True]
    images = {image.SOPInstanceUID: image for image in map(pydicom.dcmread, shown.study.images)}

    page.open(shown.viewer.address(request.study_uid, measurements.series_uid))
    rectangles = page.rectangles(len(BOXES))

    assert [one.label for one in rectangles] == LABELS
    for rectangle, box in zip(rectangles, BOXES, strict=True):
        image = images[request.sources[box.slice_index].sop_instance_uid]
        assert rectangle.sop_instance_uid == image.SOPInstanceUID
        apart_mm = rectangle.points_mm - image_mm(image, corners_px(box))
        assert np.abs(apart_mm).max() < EXACT_PX * min(image.PixelSpacing)
    for k in sorted({box.slice_index for box in BOXES}):
        image = images[request.sources[k].sop_instance_uid]
        boxes = [box for box in BOXES if box.slice_index == k]
        page.show_instance(image.SOPInstanceUID)
        page.until(lambda image=image, boxes=boxes: outlined(page, image, boxes), f"the boxes of slice {k}")
        page.keep("boxes" if len(boxes) > 1 else f"boxes-{k}")
    bare = images[request.sources[0].sop_instance_uid]
    page.show_instance(bare.SOPInstanceUID)
    page.until(lambda: not drawn_along(page, bare, BOXES, 0).any(), "a slice without boxes")


def image_mm(image: Dataset, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n, 2), column and row, counted from the outer corner of the first pixel, in the patient (n, 3)."""
    to_patient = hd.spatial.ImageToReferenceTransformer(
        image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing
    )
    return to_patient(points_px)


def corners_px(box: Box) -> NDArray[np.float64]:
    left, top, right, bottom = box.box_xyxy_px
    return np.array([(left, top), (right, top), (left, bottom), (right, bottom)])


def outlined(page: OhifPage, image: Dataset, boxes: Sequence[Box]) -> bool:
    """Whether lines are drawn on the edges of the boxes, and neither a pixel within nor a pixel without."""
    on, within, without = (drawn_along(page, image, boxes, shift).mean() for shift in (0, -1, 1))
    return bool(on >= LINE_AGREEMENT and max(within, without) <= 1 - LINE_AGREEMENT)


def drawn_along(page: OhifPage, image: Dataset, boxes: Sequence[Box], outwards_px: float) -> Plane:
    """Where along the edges of the boxes, moved outwards, OHIF's yellow is drawn: (n,)."""
    points_px = []
    along = np.linspace(SPARED, 1 - SPARED, SAMPLES // 4 // len(boxes))
    for box in boxes:
        left, top, right, bottom = np.array(box.box_xyxy_px) + outwards_px * np.array([-1, -1, 1, 1])
        across, down = left + along * (right - left), top + along * (bottom - top)
        points_px += [(x, y) for y in (top, bottom) for x in across] + [(x, y) for x in (left, right) for y in down]
    places = page.places_px(image_mm(image, np.array(points_px)))
    screenshot = page.screenshot()
    yellow = (screenshot[..., :2].min(axis=2) - screenshot[..., 2]) >= LEAST_YELLOW
    # A line is hardly wider than a pixel of the screen, a pixel of the image three times as wide: the neighbours count.
    reached = yellow if outwards_px else maximum_filter(yellow, 3)
    return np.asarray(reached[places[:, 0], places[:, 1]])


def pixels_mm(image: Dataset) -> NDArray[np.float64]:
    """Where the centre of each pixel of a slice lies, row after row: (rows × columns, 3), LPS."""
    to_patient = hd.spatial.PixelToReferenceTransformer(
        image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing
    )
    rows, columns = np.indices((image.Rows, image.Columns))
    return to_patient(np.stack([columns.ravel(), rows.ravel()], axis=1))


def inner(mask: Plane) -> Plane:
    return binary_erosion(mask, iterations=EDGE_PX)


def samples(places: NDArray[np.int64], mask: Plane) -> NDArray[np.int64]:
    """Places on the screenshot of voxels of a mask, spread evenly over it."""
    chosen = places[mask]
    return chosen[:: max(1, len(chosen) // SAMPLES)]


def at(screenshot: Pixels, places: NDArray[np.int64]) -> Pixels:
    return screenshot[places[:, 0], places[:, 1]]


def drawn_plain(page: OhifPage, image: Dataset) -> Pixels | None:
    """The screenshot, where it shows this image in its own window and nothing over it."""
    screenshot = page.screenshot()
    places = page.places_px(pixels_mm(image))
    stored = image.pixel_array.ravel() * float(image.RescaleSlope) + float(image.RescaleIntercept)
    low = float(image.WindowCenter) - float(image.WindowWidth) / 2
    expected = np.clip((stored - low) / float(image.WindowWidth), 0, 1)[:, None] * 255
    agrees = (np.abs(at(screenshot, places) - expected).max(axis=1) <= LEVELS).mean()
    return screenshot if agrees >= AGREEMENT_OF_IMAGE else None


def coloured(
    screenshot: Pixels, bare: Pixels, places: NDArray[np.int64], colour: tuple[int, int, int]
) -> Pixels | None:
    """The screenshot, where the places hold the image with the colour laid over it, at one opacity for all."""
    under = at(bare, places)
    change, reach = at(screenshot, places) - under, np.array(colour) - under
    opacity = (change * reach).sum() / (reach * reach).sum()
    drawn = np.abs(change - opacity * reach).max(axis=1) <= LEVELS
    return screenshot if opacity >= LEAST_OPACITY and drawn.mean() >= AGREEMENT else None


def unchanged(screenshot: Pixels, bare: Pixels, places: NDArray[np.int64]) -> bool:
    return bool((np.abs(at(screenshot, places) - at(bare, places)).max(axis=1) <= LEVELS).mean() >= AGREEMENT)


def printed(item: Dataset) -> Iterator[str]:
    """Headings and texts of a report: what stands in its containers, white space as single spaces."""
    yield item.ConceptNameCodeSequence[0].CodeMeaning
    for child in item.ContentSequence:
        if child.ValueType == "CONTAINER":
            yield from printed(child)
        elif child.ValueType == "TEXT":
            yield " ".join(child.TextValue.split())
