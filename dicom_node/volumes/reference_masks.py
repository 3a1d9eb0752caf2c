"""A DICOM SEG that people drew, as masks on the grid of the series that it was drawn on.

Owns which segments are lungs and which are lesions, and which slice a frame lies on: by its position, never by its
number or order (Segmentation, PS3.3 A.51 and C.8.20). Nothing is resampled: a segmentation on another grid is refused.

A segment counts by its Segmented Property Type where that is a code of ``LUNG_CODES`` or ``LESION_CODES``. Other codes
are many (lobes, pneumonia, consolidation), so then the words of its label and of the code decide: ``LESION_WORDS``
first, because "lung lesion" is no lung, then ``LUNG_WORDS``. Further segments (heart, airways) are left aside.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from dicom_node.volumes.build import SeriesVolume
from dicom_node.volumes.geometry import ORIENTATION_TOLERANCE, SPACING_TOLERANCE

LUNG_CODES: Final = (Code("39607008", "SCT", "Lung"),)
"""Left and right are modifiers of it. SNOMED-RT codes of older objects equal these: pydicom knows both."""
LESION_CODES: Final = (
    Code("52988006", "SCT", "Lesion"),
    Code("112033", "DCM", "Abnormal opacity"),
    Code("112120", "DCM", "Ground glass opacity"),
    Code("112001", "DCM", "Opacity"),
)
LESION_WORDS: Final = ("infect", "lesion", "ground", "consolid")
LUNG_WORDS: Final = ("lung",)
OFF_PLACE_FRACTION: Final = 0.25
"""Of a voxel's edges: positions rounded by writers stay below, a grid shifted by half a voxel does not."""
_UNREADABLE = (
    InvalidDicomError, OSError, AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError,
)  # fmt: skip
"""What pydicom raises on files that are damaged or lack what the standard asks for."""


class _Region(Enum):
    LUNGS = "lungs"
    """Left, right or both; lobes too."""
    LESIONS = "lesions"
    """Infected region, ground glass, consolidation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceMasks:
    """Both in the shape and order of the volume's ``array_zyx``; lesions may reach out of the lungs."""

    lungs: NDArray[np.bool_]
    lesions: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceSegmentation:
    """A SEG as read, its n frames of lungs and lesions only."""

    path: Path
    source_uids: frozenset[str]
    """SOP Instance UIDs of the images that it was drawn on."""
    frame_of_reference_uid: str
    regions: tuple[_Region, ...]
    positions_mm: NDArray[np.float64]
    """(n, 3): Image Position (Patient)."""
    orientations: NDArray[np.float64]
    """(n, 6): Image Orientation (Patient)."""
    spacings_mm: NDArray[np.float64]
    """(n, 2): Pixel Spacing, between rows and between columns."""
    frames: NDArray[np.bool_]
    """(n, rows, columns)."""

    def masks_on(self, series: SeriesVolume) -> ReferenceMasks:
        """The masks on the series' own grid; without a segment of lesions, the patient has none.

        Raises ``ValueError`` naming the file and what does not fit: images, Frame of Reference or geometry.
        """
        volume = series.volume
        if not self.source_uids & {source.sop_instance_uid for source in series.sources}:
            raise ValueError(f"{self.path} refers to no image of the series: it was drawn on another one")
        if self.frame_of_reference_uid != volume.frame_of_reference_uid:
            raise ValueError(
                f"{self.path} has another Frame of Reference than the series: its places mean nothing there"
            )
        slices = self._slices_of_frames(series)
        masks = {region: np.zeros(volume.array_zyx.shape, np.bool_) for region in _Region}
        for region, k, frame in zip(self.regions, slices, self.frames, strict=True):
            masks[region][k] |= frame
        return ReferenceMasks(lungs=masks[_Region.LUNGS], lesions=masks[_Region.LESIONS])

    def _slices_of_frames(self, series: SeriesVolume) -> list[int]:
        volume = series.volume
        if self.frames.shape[1:] != volume.array_zyx.shape[1:]:
            sizes = "{}×{}, the series {}×{}".format(*self.frames.shape[1:], *volume.array_zyx.shape[1:])
            raise ValueError(f"{self.path} has frames of {sizes}: write it on the grid of the images")
        spacing_x_mm, spacing_y_mm, _ = volume.spacing_xyz_mm
        directions = (volume.index_to_patient[:3, :2] / (spacing_x_mm, spacing_y_mm)).T.ravel()
        spacing_mm = np.array([spacing_y_mm, spacing_x_mm])
        turned = np.abs(self.orientations - directions).max(axis=1) > ORIENTATION_TOLERANCE
        scaled = (np.abs(self.spacings_mm - spacing_mm) > SPACING_TOLERANCE * spacing_mm).any(axis=1)
        to_index = np.linalg.inv(volume.index_to_patient)
        indices = self.positions_mm @ to_index[:3, :3].T + to_index[:3, 3]
        slices = np.rint(indices[:, 2])
        indices[:, 2] -= slices
        displaced = (np.abs(indices) > OFF_PLACE_FRACTION).any(axis=1)
        outside = (slices < 0) | (slices >= len(volume.array_zyx))
        for wrong, words in (
            (turned, "lies in another plane than the slices"),
            (scaled, "has another Pixel Spacing than the slices"),
            (displaced | outside, "lies on no slice of the series"),
        ):
            if wrong.any():
                raise ValueError(
                    f"{self.path} does not fit the series: {int(wrong.sum())} of its {len(wrong)} frames, the first at "
                    f"{_place(self.positions_mm[wrong.argmax()])}, {words}; write it on the grid of the images"
                )
        return [int(k) for k in slices]


def read_reference_segmentation(path: Path) -> ReferenceSegmentation:
    """Read a SEG of type BINARY. Raises ``ValueError`` naming the file, what is wrong with it and what to do."""
    try:
        data_set = dcmread(path)
    except _UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as DICOM") from error
    if data_set.get("SOPClassUID") != SegmentationStorage or data_set.get("SegmentationType") != "BINARY":
        raise ValueError(f"{path} is no DICOM SEG of type BINARY: write the masks as one")
    try:
        regions = _regions(data_set)
        segmentation = _segmentation(path, data_set, regions)
    except _UNREADABLE as error:
        raise ValueError(f"{path} lacks something that a DICOM SEG has, or its frames cannot be decoded") from error
    if _Region.LUNGS not in regions.values():
        raise ValueError(
            f"{path} has no segment of the lungs: give one the type Lung (39607008, SCT) or a label with the word lung"
        )
    return segmentation


def _regions(data_set: Dataset) -> dict[int, _Region]:
    """By Segment Number; without the segments that are neither."""
    found = {int(segment.SegmentNumber): _region(segment) for segment in data_set.SegmentSequence}
    return {number: region for number, region in found.items() if region is not None}


def _region(segment: Dataset) -> _Region | None:
    types = segment.get("SegmentedPropertyTypeCodeSequence") or [Dataset()]
    value = types[0].get("CodeValue") or types[0].get("LongCodeValue") or ""
    meaning = types[0].get("CodeMeaning", "")
    code = Code(value, types[0].get("CodingSchemeDesignator", ""), meaning)
    words = f"{segment.get('SegmentLabel', '')} {meaning}".lower()
    if code in LESION_CODES:
        return _Region.LESIONS
    if code in LUNG_CODES:
        return _Region.LUNGS
    if any(word in words for word in LESION_WORDS):
        return _Region.LESIONS
    return _Region.LUNGS if any(word in words for word in LUNG_WORDS) else None


def _segmentation(path: Path, data_set: Dataset, regions: dict[int, _Region]) -> ReferenceSegmentation:
    shared = data_set.SharedFunctionalGroupsSequence[0]
    numbers, positions, orientations, spacings = [], [], [], []
    for own in data_set.PerFrameFunctionalGroupsSequence:
        numbers.append(int(_macro(own, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber))
        positions.append(_macro(own, shared, "PlanePositionSequence").ImagePositionPatient)
        orientations.append(_macro(own, shared, "PlaneOrientationSequence").ImageOrientationPatient)
        spacings.append(_macro(own, shared, "PixelMeasuresSequence").PixelSpacing)
    frames = data_set.pixel_array.reshape(len(numbers), data_set.Rows, data_set.Columns)
    kept = [index for index, number in enumerate(numbers) if number in regions]
    return ReferenceSegmentation(
        path=path,
        source_uids=_source_uids(data_set),
        frame_of_reference_uid=str(data_set.get("FrameOfReferenceUID", "")),
        regions=tuple(regions[numbers[index]] for index in kept),
        positions_mm=np.array(positions, np.float64).reshape(-1, 3)[kept],
        orientations=np.array(orientations, np.float64).reshape(-1, 6)[kept],
        spacings_mm=np.array(spacings, np.float64).reshape(-1, 2)[kept],
        frames=frames[kept] > 0,
    )


def _macro(own: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """Each functional group stands with the frame or with all of them (PS3.3 C.7.6.16)."""
    item: Dataset = (own if keyword in own else shared)[keyword][0]
    return item


def _source_uids(data_set: Dataset) -> frozenset[str]:
    """From wherever a writer named them: per series, for the whole object, or frame by frame."""
    named = list(data_set.get("SourceImageSequence", []))
    for series in data_set.get("ReferencedSeriesSequence", []):
        named += series.get("ReferencedInstanceSequence", [])
    groups = (*data_set.SharedFunctionalGroupsSequence, *data_set.PerFrameFunctionalGroupsSequence)
    for derivation in (item for group in groups for item in group.get("DerivationImageSequence", [])):
        named += derivation.get("SourceImageSequence", [])
    return frozenset(str(image.ReferencedSOPInstanceUID) for image in named)


def _place(position_mm: NDArray[np.float64]) -> str:
    return "({:.4g}, {:.4g}, {:.4g}) mm".format(*position_mm)
