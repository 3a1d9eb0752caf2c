"""A segmentation that people drew comes out on the grid of its series, or is refused by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import SegmentationStorage

from dicom_node.demonstration.phantom_study import PhantomStudy, write_phantom_study
from dicom_node.results.regions import REGIONS
from dicom_node.spool.folder import studies_in
from dicom_node.volumes import SeriesVolume, build_volume
from dicom_node.volumes.reference_masks import LESION_CODES, LUNG_CODES, read_reference_segmentation
from inference.findings import Region

SLICES, SIZE_PX, SEED = 12, 71, 4  # frames of 71² bits end within a byte


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudy:
    out = tmp_path_factory.mktemp("study")
    return write_phantom_study(
        out / "images", kind="ct", slices=SLICES, size_px=SIZE_PX, seed=SEED, truth_folder=out / "truth"
    )


@pytest.fixture(scope="module")
def series(study: PhantomStudy) -> SeriesVolume:
    return volume_of(study.folder)


def volume_of(folder: Path) -> SeriesVolume:
    ((only,),) = studies_in(folder, scratch=folder.parent).studies.values()
    return build_volume(only)


def edited(study: PhantomStudy, folder: Path, edit: Callable[[Dataset], None]) -> Path:
    """A copy of the truth with one thing about it changed."""
    data_set = dcmread(study.truth)
    edit(data_set)
    data_set.save_as(folder / "edited.dcm")
    return folder / "edited.dcm"


def refusal(path: Path, series: SeriesVolume) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        read_reference_segmentation(path).masks_on(series)
    return str(caught.value)


def test_masks_are_the_truth_of_the_phantom(study: PhantomStudy, series: SeriesVolume) -> None:
    masks = read_reference_segmentation(study.truth).masks_on(series)
    assert study.phantom.infected.any()
    assert np.array_equal(masks.lungs, study.phantom.left_lung | study.phantom.right_lung)
    assert np.array_equal(masks.lesions, study.phantom.infected)


def test_the_order_of_frames_and_slices_does_not_matter(
    study: PhantomStudy, series: SeriesVolume, tmp_path: Path
) -> None:
    def reverse(data_set: Dataset) -> None:
        frames = data_set.pixel_array[::-1]
        data_set.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()
        data_set.PixelData += b"\0" * (len(data_set.PixelData) % 2)
        data_set.PerFrameFunctionalGroupsSequence = list(data_set.PerFrameFunctionalGroupsSequence)[::-1]

    masks = read_reference_segmentation(edited(study, tmp_path, reverse)).masks_on(series)
    assert np.array_equal(masks.lesions, study.phantom.infected)


def test_a_normal_patient_has_no_lesions(tmp_path: Path) -> None:
    study = write_phantom_study(
        tmp_path / "images", kind="ct", slices=SLICES, size_px=64, seed=1, normal=True, truth_folder=tmp_path / "truth"
    )
    masks = read_reference_segmentation(study.truth).masks_on(volume_of(study.folder))
    assert np.array_equal(masks.lungs, study.phantom.left_lung | study.phantom.right_lung)
    assert not masks.lesions.any()


def test_the_codes_that_the_node_writes_are_known() -> None:
    for region in REGIONS:
        known = LESION_CODES if region.region is Region.INFECTED_REGION else LUNG_CODES
        assert region.type in known


@pytest.mark.parametrize(
    ("code", "label", "counts_as"),
    [
        (("T-28000", "SRT", "Lung"), "Segment 3", "lung"),
        (("112120", "DCM", "Ground glass opacity"), "Segment 3", "lesion"),
        (("85756007", "SCT", "Tissue"), "Consolidation", "lesion"),
        (("85756007", "SCT", "Tissue"), "Infected part of LUNG", "lesion"),
        (("85756007", "SCT", "Tissue"), "Both lungs", "lung"),
        (("45653009", "SCT", "Upper lobe of lung"), "RUL", "lung"),
        (("80891009", "SCT", "Heart"), "Heart", "nothing"),
    ],
)
def test_segments_count_by_code_then_by_words(
    study: PhantomStudy,
    series: SeriesVolume,
    tmp_path: Path,
    code: tuple[str, str, str],
    label: str,
    counts_as: str,
) -> None:
    """The third segment, the infected region, is called otherwise."""

    def rename(data_set: Dataset) -> None:
        segment = data_set.SegmentSequence[2]
        segment.SegmentLabel = label
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning = code

    masks = read_reference_segmentation(edited(study, tmp_path, rename)).masks_on(series)
    lungs = study.phantom.left_lung | study.phantom.right_lung
    assert np.array_equal(masks.lungs, lungs | study.phantom.infected if counts_as == "lung" else lungs)
    assert np.array_equal(masks.lesions, study.phantom.infected & (counts_as == "lesion"))


def _shift(*by_mm: float) -> Callable[[Dataset], None]:
    def edit(data_set: Dataset) -> None:
        for group in data_set.PerFrameFunctionalGroupsSequence:
            position = group.PlanePositionSequence[0]
            moved = np.array(position.ImagePositionPatient, float) + by_mm
            position.ImagePositionPatient = [f"{value:.6g}" for value in moved]

    return edit


def _space(data_set: Dataset) -> None:
    measures = data_set.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = [float(value) * 1.01 for value in measures.PixelSpacing]


def _turn(data_set: Dataset) -> None:
    orientation = data_set.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    orientation.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        pytest.param(_shift(0, 0, 12.5), "lies on no slice of the series", id="between slices of 25 mm"),
        pytest.param(_shift(0, 0, 100), "lies on no slice of the series", id="above the first or last"),
        pytest.param(_shift(3, 0, 0), "lies on no slice of the series", id="sideways"),
        pytest.param(_space, "has another Pixel Spacing than the slices", id="spacing"),
        pytest.param(_turn, "lies in another plane than the slices", id="mirrored"),
    ],
)
def test_another_geometry_is_refused(
    study: PhantomStudy, series: SeriesVolume, tmp_path: Path, edit: Callable[[Dataset], None], words: str
) -> None:
    said = refusal(edited(study, tmp_path, edit), series)
    assert "does not fit the series" in said
    assert words in said


def test_frames_of_another_size_are_refused(study: PhantomStudy, series: SeriesVolume) -> None:
    segmentation = read_reference_segmentation(study.truth)
    with pytest.raises(ValueError, match="has frames of 71×70, the series 71×71"):
        replace(segmentation, frames=segmentation.frames[:, :, :-1]).masks_on(series)


def test_positions_rounded_by_a_writer_still_fit(study: PhantomStudy, series: SeriesVolume, tmp_path: Path) -> None:
    masks = read_reference_segmentation(edited(study, tmp_path, _shift(0.04, -0.04, 0.1))).masks_on(series)
    assert np.array_equal(masks.lesions, study.phantom.infected)


def test_a_segmentation_of_another_patient_is_refused(series: SeriesVolume, tmp_path: Path) -> None:
    other = write_phantom_study(tmp_path, kind="ct", slices=SLICES, size_px=64, seed=SEED + 1)
    assert "refers to no image of the series" in refusal(other.truth, series)


def test_another_frame_of_reference_is_refused(study: PhantomStudy, series: SeriesVolume, tmp_path: Path) -> None:
    def move(data_set: Dataset) -> None:
        data_set.FrameOfReferenceUID = "1.2.3"

    assert "another Frame of Reference" in refusal(edited(study, tmp_path, move), series)


def _fractional(data_set: Dataset) -> None:
    data_set.SegmentationType = "FRACTIONAL"


def _without_lungs(data_set: Dataset) -> None:
    for segment in data_set.SegmentSequence[:2]:
        segment.SegmentLabel = "Heart"
        segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = "80891009"
        segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning = "Heart"


def _truncated(data_set: Dataset) -> None:
    data_set.PixelData = data_set.PixelData[:100]


def _without_positions(data_set: Dataset) -> None:
    del data_set.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_fractional, "is no DICOM SEG of type BINARY"),
        (_without_lungs, "has no segment of the lungs: give one the type Lung"),
        (_truncated, "its frames cannot be decoded"),
        (_without_positions, "lacks something that a DICOM SEG has"),
    ],
)
def test_what_is_no_readable_segmentation_is_named(
    study: PhantomStudy, series: SeriesVolume, tmp_path: Path, edit: Callable[[Dataset], None], words: str
) -> None:
    assert words in refusal(edited(study, tmp_path, edit), series)


def test_other_files_are_no_segmentation(study: PhantomStudy, series: SeriesVolume, tmp_path: Path) -> None:
    assert "is no DICOM SEG" in refusal(study.images[0], series)
    (tmp_path / "notes.txt").write_text("not DICOM")
    assert "cannot be read as DICOM" in refusal(tmp_path / "notes.txt", series)
    assert dcmread(study.truth).SOPClassUID == SegmentationStorage
