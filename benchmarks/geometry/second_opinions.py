"""What others read in the node's objects: highdicom, and dcmtk, with the arithmetic of the standard written out.

Nothing here is shared with the node. Each reader gives the masks of a SEG as it finds them, with the source frame that
they belong to, or the place in the patient, or both; and the boxes of a structured report.
"""

import itertools
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from benchmarks.geometry.phantom import Plane

DCMTK_TIMEOUT_S = 120
_COORDINATES = re.compile(r"SCOORD:\(.*?\)=\(POLYLINE,([\d./,]+)\)>")
_IMAGE = re.compile(r"IMAGE:\(.*?\)=\([^\"]*\"([\d.]+)\"(?:,(\d+))?")
ROUNDED_POSITIONS_MM = 0.15
"""Irregularity that highdicom is told to take: positions that a scanner wrote to 0.1 mm are not as even as it asks."""


Source = tuple[str, int]
"""SOP Instance UID and frame number (1 for single-frame objects)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnBox:
    """A rectangle on an image."""

    source: Source
    box_xyxy_px: tuple[float, float, float, float]
    """Left, top, right, bottom; (0, 0) is the outer corner of the first pixel (PS3.3 C.18.6.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentFrame:
    """One segment on one frame."""

    label: str
    """Segment Label."""
    mask: NDArray[np.bool_]
    """(rows, columns)."""
    source: Source | None = None
    corners_mm: NDArray[np.float64] | None = None
    """(4, 3), see ``corners_mm``."""


def corners_mm(plane: Plane, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Patient positions of the corner pixels' centres, (4, 3). Every other pixel lies between them in proportion."""
    rows, columns = shape
    return plane.centres_mm(np.array([0, 0, rows - 1, rows - 1]), np.array([0, columns - 1, 0, columns - 1]))


def by_source_with_highdicom(path: Path, sources: Sequence[Source]) -> tuple[SegmentFrame, ...]:
    """What highdicom finds for source frames; for those that the SEG leaves out, an empty mask."""
    segmentation = hd.seg.segread(path)
    by_instance: dict[str, list[int]] = {}
    for uid, number in sources:
        by_instance.setdefault(uid, []).append(number)
    frames = []
    for segment in segmentation.segment_numbers:
        label = segmentation.get_segment_description(segment).segment_label
        if len(by_instance) == len(sources):
            order = list(sources)
            masks = segmentation.get_pixels_by_source_instance(
                [uid for uid, _ in order], segment_numbers=[segment], assert_missing_frames_are_empty=True
            )
        else:
            order = [(uid, number) for uid, numbers in by_instance.items() for number in numbers]
            masks = np.concatenate(
                [
                    segmentation.get_pixels_by_source_frame(
                        uid, numbers, segment_numbers=[segment], assert_missing_frames_are_empty=True
                    )
                    for uid, numbers in by_instance.items()
                ]
            )
        frames += [
            SegmentFrame(label=label, mask=mask.astype(bool), source=source)
            for source, mask in zip(order, masks[..., 0], strict=True)
        ]
    return tuple(frames)


def by_place_with_highdicom(path: Path) -> tuple[SegmentFrame, ...]:
    """The planes of the volume that highdicom makes of the SEG, with the places that its affine gives them."""
    segmentation = hd.seg.segread(path)
    volume = segmentation.get_volume(atol=ROUNDED_POSITIONS_MM)
    depth, rows, columns = volume.spatial_shape
    frames = []
    for channel, segment in enumerate(segmentation.segment_numbers):
        label = segmentation.get_segment_description(segment).segment_label
        for k in range(depth):
            indices = np.array([[k, j, i] for j in (0, rows - 1) for i in (0, columns - 1)])
            frames.append(
                SegmentFrame(
                    label=label,
                    mask=volume.array[k, ..., channel].astype(bool),
                    corners_mm=volume.map_indices_to_reference(indices),
                )
            )
    return tuple(frames)


def boxes_with_highdicom(path: Path) -> frozenset[DrawnBox]:
    """The regions of the measurement groups of a TID 1500 report."""
    content = hd.sr.srread(path).content
    assert isinstance(content, hd.sr.MeasurementReport)
    boxes = set()
    for group in content.get_planar_roi_measurement_groups():
        region = group.roi
        assert isinstance(region, hd.sr.ImageRegion)
        (image,) = region.ContentSequence
        (number,) = image.referenced_frame_numbers or (1,)
        boxes.add(_box(region.value, (str(image.referenced_sop_instance_uid), int(number))))
    return frozenset(boxes)


def boxes_with_dsrdump(path: Path) -> frozenset[DrawnBox]:
    """Every closed line of a structured report with the image below it, as dsrdump prints them."""
    lines = _output("dsrdump", "+Pu", "+Pl", str(path)).splitlines()
    boxes = set()
    for line, below in itertools.pairwise(lines):
        drawn = _COORDINATES.search(line)
        if drawn is None:
            continue
        image = _IMAGE.search(below)
        assert image is not None, "a region without an image"
        points = np.array([[float(value) for value in point.split("/")] for point in drawn[1].split(",")])
        boxes.add(_box(points, (image[1], int(image[2] or 1))))
    return frozenset(boxes)


def _box(points: NDArray[np.float64], source: Source) -> DrawnBox:
    """The rectangle of a closed line (n, 2), column and row."""
    left, top = (float(value) for value in points.min(axis=0))
    right, bottom = (float(value) for value in points.max(axis=0))
    return DrawnBox(source=source, box_xyxy_px=(left, top, right, bottom))


def read_with_dcmtk(path: Path) -> tuple[SegmentFrame, ...]:
    """The SEG as dcm2xml and dcmdump give it: attributes as XML, pixel data as one raw file."""
    root = ElementTree.fromstring(_output("dcm2xml", str(path))).find("data-set")
    assert root is not None
    rows, columns = int(_text(root, "Rows")), int(_text(root, "Columns"))
    shared = _items(root, "SharedFunctionalGroupsSequence")[0]
    groups = _items(root, "PerFrameFunctionalGroupsSequence")
    labels = {_text(item, "SegmentNumber"): _text(item, "SegmentLabel") for item in _items(root, "SegmentSequence")}
    bits = np.unpackbits(_raw_pixels(path), count=len(groups) * rows * columns, bitorder="little")
    masks = bits.reshape(len(groups), rows, columns).astype(bool)
    return tuple(_dcmtk_frame(group, shared, labels, mask) for group, mask in zip(groups, masks, strict=True))


def _dcmtk_frame(
    group: ElementTree.Element, shared: ElementTree.Element, labels: dict[str, str], mask: NDArray[np.bool_]
) -> SegmentFrame:
    def macro(keyword: str) -> ElementTree.Element:
        return (_items(group, keyword) or _items(shared, keyword))[0]

    source = _items(macro("DerivationImageSequence"), "SourceImageSequence")[0]
    x, y, z = _decimals(macro("PlanePositionSequence"), "ImagePositionPatient")
    between_rows, between_columns = _decimals(macro("PixelMeasuresSequence"), "PixelSpacing")
    plane = Plane(
        position_mm=(x, y, z),
        orientation=_decimals(macro("PlaneOrientationSequence"), "ImageOrientationPatient"),
        spacing_mm=(between_rows, between_columns),
    )
    return SegmentFrame(
        label=labels[_text(macro("SegmentIdentificationSequence"), "ReferencedSegmentNumber")],
        mask=mask,
        source=(_text(source, "ReferencedSOPInstanceUID"), int(_text(source, "ReferencedFrameNumber") or 1)),
        corners_mm=corners_mm(plane, (mask.shape[0], mask.shape[1])),
    )


def _items(element: ElementTree.Element, keyword: str) -> list[ElementTree.Element]:
    sequence = element.find(f"sequence[@name='{keyword}']")
    return [] if sequence is None else sequence.findall("item")


def _text(element: ElementTree.Element, keyword: str) -> str:
    found = element.find(f"element[@name='{keyword}']")
    return "" if found is None else found.text or ""


def _decimals(element: ElementTree.Element, keyword: str) -> tuple[float, ...]:
    return tuple(float(value) for value in _text(element, keyword).split("\\"))


def _raw_pixels(path: Path) -> NDArray[np.uint8]:
    with tempfile.TemporaryDirectory() as folder:
        _output("dcmdump", "-q", "+W", folder, str(path))
        (raw,) = Path(folder).iterdir()
        return np.fromfile(raw, np.uint8)


def _output(*command: str) -> str:
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=DCMTK_TIMEOUT_S
    ).stdout  # fmt: skip
