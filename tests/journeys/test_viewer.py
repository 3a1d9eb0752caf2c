"""What a reader sees: the study with its results in a real OHIF, in front of a real Orthanc, in a real browser.

Screenshots and the browser's console are kept in ``test-out/viewer``, to be looked at.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.ndimage import binary_dilation, binary_erosion, maximum_filter, minimum_filter

from dicom_node.demonstration.viewer import DEFAULT_VIEWER, StudyInViewer, study_in_viewer
from dicom_node.records import ResultKind
from dicom_node.results.regions import REGIONS
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
