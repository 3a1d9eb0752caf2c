"""OHIF in a headless Chromium: opens a study, reads OHIF's own services, and takes pictures of what it draws."""

import io
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import JavascriptException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

PATIENCE_S: Final = 90.0
"""For one thing to appear: software rendering on a busy machine is slow."""
POLL_S: Final = 0.25
WINDOW_PX: Final = "1600,1000"
BROWSERS: Final = ("chromium", "google-chrome")
INSTALL: Final = "Chromium and its driver are not installed: sh deploy/install-test-packages.sh (make test does it)"
FLAGS: Final = (
    "--headless=new", f"--window-size={WINDOW_PX}", "--force-device-scale-factor=1",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader",  # WebGL without a graphics card
    "--no-sandbox", "--disable-dev-shm-usage",  # root and small containers
)  # fmt: skip

_SEGMENTS = """
const service = window.services?.segmentationService, [segmentation] = service?.getSegmentations() ?? [];
const labelmap = segmentation?.representationData.Labelmap, viewport = service?.getViewportIdsWithSegmentation(
    segmentation?.segmentationId)[0];
if (!labelmap || !viewport) return null;
const colour = number => service.getSegmentColor(viewport, segmentation.segmentationId, number);
return Object.values(segmentation.segments).filter(Boolean).map(({segmentIndex, label}) => {
    const {labelmapId, labelValue} = labelmap.segmentBindings[segmentIndex];
    let voxels = 0;
    for (const imageId of labelmap.labelmaps[labelmapId].imageIds)
        for (const value of window.cornerstone.cache.getImage(imageId).voxelManager.getScalarData())
            if (value === labelValue) voxels++;
    return {number: segmentIndex, label, colour_rgb: colour(segmentIndex).slice(0, 3), voxels};
});
"""
_RECTANGLES = """
return (window.services?.measurementService?.getMeasurements() ?? [])
    .filter(({type}) => type === 'value_type::rectangle')
    .map(({label, SOPInstanceUID, points}) => ({label, sop_instance_uid: SOPInstanceUID, points_mm: points}));
"""
_SHOW_ONLY = """
const shown = arguments[0], service = window.services.segmentationService;
const [{segmentationId, segments}] = service.getSegmentations();
for (const viewport of service.getViewportIdsWithSegmentation(segmentationId))
    for (const {segmentIndex} of Object.values(segments).filter(Boolean))
        service.setSegmentVisibility(viewport, segmentationId, segmentIndex, shown.includes(segmentIndex), 'Labelmap');
"""
_VIEWPORT = """
const grid = window.services?.viewportGridService?.getState();
const viewport = grid && window.services.cornerstoneViewportService.getCornerstoneViewport(grid.activeViewportId);
"""
_SHOW_INSTANCE = f"""{_VIEWPORT}
const index = viewport?.getImageIds().findIndex(id => id.includes(`/instances/${{arguments[0]}}/`)) ?? -1;
if (index < 0) return false;
if (viewport.getCurrentImageIdIndex() !== index) viewport.setImageIdIndex(index);
return viewport.getCurrentImageIdIndex() === index;
"""
_ALL_CACHED = f"""{_VIEWPORT}
const images = viewport?.getImageIds() ?? [];
return images.length > 0 && images.every(id => window.cornerstone.cache.getImage(id));
"""
_PLACES = f"""{_VIEWPORT}
if (viewport?.viewportStatus !== 'rendered') return null;
const {{x, y}} = viewport.element.getBoundingClientRect();
return arguments[0].map(point => viewport.worldToCanvas(point)).map(([right, down]) => [x + right, y + down]);
"""
_OPEN_SEGMENTATION_PANEL = """
window.services.panelService.activatePanel('@ohif/extension-cornerstone.panelModule.panelSegmentation', true);
"""
_CONFIRM = (
    "const button = document.querySelector('[data-cy=confirm-and-hide-button]'); button?.click(); return !!button;"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSegment:
    """A segment as OHIF holds it after loading."""

    number: int
    label: str
    colour_rgb: tuple[int, int, int]
    voxels: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShownRectangle:
    """A rectangle as OHIF holds it after reading a measurement report."""

    label: str
    sop_instance_uid: str
    points_mm: NDArray[np.float64]
    """Its corners (4, 3) in the patient, LPS."""


class OhifPage:
    """One browser tab. ``folder`` takes the screenshots."""

    def __init__(self, driver: webdriver.Chrome, folder: Path) -> None:
        self._driver = driver
        self._folder = folder

    def open(self, address: str) -> None:
        """Load a page and put away the notice that would lie over the image."""
        self._driver.get(address)
        if not self._driver.execute_script("return sessionStorage.getItem('investigationalUseDialog')"):
            self.until(lambda: self._driver.execute_script(_CONFIRM), "OHIF's notice of investigational use")

    def segments(self) -> list[ShownSegment]:
        """The segments of the segmentation that was loaded, counted voxel by voxel."""
        found = self.until(lambda: self._driver.execute_script(_SEGMENTS), "a loaded segmentation")
        return [ShownSegment(**(one | {"colour_rgb": tuple(one["colour_rgb"])})) for one in found]

    def show_only(self, numbers: Sequence[int]) -> None:
        """Hide every segment that is not named."""
        self._driver.execute_script(_SHOW_ONLY, list(numbers))

    def rectangles(self, count: int) -> list[ShownRectangle]:
        """The rectangles that were read, as soon as there are that many."""

        def read() -> Any:
            found = self._driver.execute_script(_RECTANGLES)
            return found if len(found) == count else None

        found = self.until(read, f"{count} rectangles")
        return [ShownRectangle(**(one | {"points_mm": np.array(one["points_mm"])})) for one in found]

    def show_instance(self, sop_instance_uid: str) -> None:
        """Scroll the viewport to an image."""
        self.until(lambda: self._driver.execute_script(_SHOW_INSTANCE, sop_instance_uid), "the image")

    def images_are_loaded(self) -> bool:
        """Whether every image of the viewport's series is in the viewer's cache."""
        return bool(self._driver.execute_script(_ALL_CACHED))

    def places_px(self, points_mm: NDArray[np.float64]) -> NDArray[np.int64]:
        """Where points (n, 3) of the patient lie on the screenshot: (n, 2) rows and columns."""
        places = self.until(lambda: self._driver.execute_script(_PLACES, points_mm.tolist()), "an image")
        return np.floor(np.array(places)[:, ::-1]).astype(np.int64)

    def open_series(self, modality: str) -> None:
        """A double click on a series that has no small image, in the list at the left."""
        series = self.until(lambda: self._series(modality), f"a series of modality {modality}")
        ActionChains(self._driver).double_click(series).perform()

    def _series(self, modality: str) -> WebElement | None:
        listed = self._driver.find_elements(By.CSS_SELECTOR, "[data-cy=study-browser-thumbnail-no-image]")
        return next((one for one in listed if one.text.startswith(modality)), None)

    def open_segmentation_panel(self) -> None:
        """The list of segments at the right; the image becomes narrower."""
        self._driver.execute_script(_OPEN_SEGMENTATION_PANEL)

    def text(self) -> str:
        """All text on the page, white space as single spaces."""
        return " ".join(str(self._driver.execute_script("return document.body.innerText")).split())

    def screenshot(self) -> NDArray[np.int64]:
        """The page as it is: (rows, columns, 3) RGB."""
        return np.asarray(Image.open(io.BytesIO(self._driver.get_screenshot_as_png())).convert("RGB")).astype(np.int64)

    def keep(self, name: str) -> None:
        """Save a screenshot as a part of the test's output."""
        self._driver.save_screenshot(str(self._folder / f"{name}.png"))

    def until(self, find: Callable[[], Any], what: str) -> Any:
        """Ask until the answer is neither ``None`` nor false; fails with a screenshot of what was there instead.

        OHIF registers its services before they work: while the page starts, a question may end in an error.
        """
        deadline, complaint = time.monotonic() + PATIENCE_S, ""
        while time.monotonic() < deadline:
            try:
                found = find()
            except JavascriptException as error:
                found, complaint = None, f" ({error.msg})"
            if found is not None and found is not False:
                return found
            time.sleep(POLL_S)
        self.keep("failed")
        failed = self._folder / "failed.png"
        raise AssertionError(f"{what} did not show in {PATIENCE_S:.0f} s{complaint}; see {failed}")


@contextmanager
def ohif_page(folder: Path) -> Iterator[OhifPage]:
    """A new browser with one tab; its console is kept in ``folder``, beside the screenshots."""
    browser, driver = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")
    assert browser is not None, INSTALL
    assert driver is not None, INSTALL
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in FLAGS:
        options.add_argument(flag)
    folder.mkdir(parents=True, exist_ok=True)
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield OhifPage(chrome, folder)
    finally:
        console: list[dict[str, Any]] = chrome.get_log("browser")
        (folder / "console.log").write_text("".join(f"{json.dumps(line)}\n" for line in console))
        chrome.quit()
