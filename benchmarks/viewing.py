"""How long OHIF takes to open a segmentation, beside the images that it lies on.

A study of 300 slices of 512² with its results in a real Orthanc, a real OHIF, Chromium without a graphics card. Images:
from the address to the last one in the viewer's cache. Segmentation: from the double click to every voxel of every
segment in the viewer's own label map.
"""

import tempfile
import time
from pathlib import Path

from benchmarks.result import Result
from dicom_node.demonstration.viewer import DEFAULT_VIEWER, study_in_viewer
from tests.ohif_page import ohif_page

GOAL = 1.0
SIZE_PX = 512


def measure(*, slices: int) -> Result:
    """One run, with the browser's cache cold."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with (
            study_in_viewer(folder, viewer=DEFAULT_VIEWER, slices=slices, size_px=SIZE_PX, seed=1) as shown,
            ohif_page(folder) as page,
        ):
            started = time.perf_counter()
            page.open(shown.images_address())
            page.until(page.images_are_loaded, "every image of the series")
            images_s = time.perf_counter() - started
            started = time.perf_counter()
            page.open_series("SEG")
            segments = page.segments()
            segmentation_s = time.perf_counter() - started
    return Result(
        name="OHIF opens a segmentation / the images under it",
        ratio=segmentation_s / images_s,
        goal=GOAL,
        detail=f"{slices} slices of {SIZE_PX}², {len(segments)} segments: segmentation {segmentation_s:.1f} s, "
        f"images {images_s:.1f} s",
    )
