"""Every layout of labelled files without DICOM comes out as the one ``Case``; what is unfit is named."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as its own documentation calls it
from numpy.typing import NDArray
from PIL import Image

from inference.training.cases import READERS, case_names, read_case
from inference.training.cases.base import LESION, LESION_OUTSIDE_LUNG, LUNG

SPACING_MM = (0.8, 0.7, 5.0)
ORIGIN_MM = (-120.0, -80.0, 30.0)
LABELLINGS = [("mask",), ("lung", "lesion")]


@pytest.fixture
def slices() -> NDArray[np.int16]:
    """(5, 8, 10) as a ``Case`` has them, no voxel like another."""
    return np.linspace(-1000, 400, 5 * 8 * 10).round().astype(np.int16).reshape(5, 8, 10)


@pytest.fixture
def palette(slices: NDArray[np.int16]) -> NDArray[np.uint8]:
    palette = np.zeros(slices.shape, np.uint8)
    palette[1:4, 1:5, 2:9] = LUNG
    palette[2, 2:4, 6:8] = LESION
    palette[4, 7, 0] = LESION_OUTSIDE_LUNG
    return palette


def image_of(array_zyx: NDArray[np.generic]) -> sitk.Image:
    """Axial slices from caudal to cranial, rows to the back, columns to the left: directions are those of LPS."""
    image = sitk.GetImageFromArray(array_zyx)
    image.SetSpacing(SPACING_MM)
    image.SetOrigin(ORIGIN_MM)
    return image


def write(path: Path, image: sitk.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def masks_of(palette: NDArray[np.uint8], labelling: tuple[str, ...]) -> dict[str, sitk.Image]:
    """The palette in one file, or as masks with values that people use."""
    if labelling == ("mask",):
        return {"mask": image_of(palette)}
    lesions = np.where(palette >= LESION, 2, 0).astype(np.uint8)
    lesions[2, 2, 6] = 1  # two kinds of lesion
    lungs = np.isin(palette, (LUNG, LESION)).astype(np.float32) * 255
    return {"lung": image_of(lungs), "lesion": image_of(lesions)}


def read(folder: Path) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
    case = read_case(folder, READERS)
    assert case.name == folder.name
    assert case.slices.flags.c_contiguous
    assert (case.palette.dtype, case.palette.shape) == (np.uint8, case.slices.shape)
    return case.slices, case.palette


@pytest.mark.parametrize("labelling", LABELLINGS, ids="+".join)
@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".nhdr"])
def test_volume_files_come_out_as_they_were(
    tmp_path: Path,
    slices: NDArray[np.int16],
    palette: NDArray[np.uint8],
    labelling: tuple[str, ...],
    extension: str,
) -> None:
    write(tmp_path / "p1" / f"p1_ct{extension}", image_of(slices))
    for name, mask in masks_of(palette, labelling).items():
        write(tmp_path / "p1" / f"p1_{name}{extension}", mask)
    assert case_names(tmp_path, READERS) == ("p1",)
    found, found_palette = read(tmp_path / "p1")
    assert found.dtype == np.int16
    assert np.array_equal(found, slices)
    assert np.array_equal(found_palette, palette)


@pytest.mark.parametrize("labelling", LABELLINGS, ids="+".join)
@pytest.mark.parametrize("orientation", ["RAS", "LAI", "RPS", "PIR", "ASL", "SLP"])
def test_any_orientation_comes_out_in_the_one_order(
    tmp_path: Path,
    slices: NDArray[np.int16],
    palette: NDArray[np.uint8],
    labelling: tuple[str, ...],
    orientation: str,
) -> None:
    """Columns to the right, sagittal slices, head to foot, …: SimpleITK turns the files, not the code under test."""
    write(tmp_path / "p" / "image.nii.gz", sitk.DICOMOrient(image_of(slices), orientation))
    for name, mask in masks_of(palette, labelling).items():
        write(tmp_path / "p" / f"{name}.nrrd", sitk.DICOMOrient(mask, orientation))
    found, found_palette = read(tmp_path / "p")
    assert np.array_equal(found, slices)
    assert np.array_equal(found_palette, palette)


def test_an_oblique_volume_is_turned_by_its_nearest_axes(
    tmp_path: Path, slices: NDArray[np.int16], palette: NDArray[np.uint8]
) -> None:
    """20° about the long axis of a patient whose columns and slices run the other way."""
    cosine, sine = np.cos(np.radians(20)), np.sin(np.radians(20))
    turned = (-cosine, -sine, 0.0, -sine, cosine, 0.0, 0.0, 0.0, -1.0)
    for name, array in (("ct", slices), ("mask", palette)):
        image = image_of(np.ascontiguousarray(array[::-1, :, ::-1]))
        image.SetDirection(turned)
        write(tmp_path / "p" / f"{name}.nrrd", image)
    by_simple_itk = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "p" / "ct.nrrd")), "LPS"))
    found, found_palette = read(tmp_path / "p")
    assert np.array_equal(found, slices)
    assert np.array_equal(found, by_simple_itk)
    assert np.array_equal(found_palette, palette)


def test_left_and_right_lung_and_two_kinds_of_lesion_are_joined(
    tmp_path: Path, slices: NDArray[np.int16], palette: NDArray[np.uint8]
) -> None:
    lungs, lesions = np.isin(palette, (LUNG, LESION)), palette >= LESION
    write(tmp_path / "p" / "ct.nii", image_of(slices))
    for side, columns in (("left", slice(5, None)), ("right", slice(0, 5))):
        half = np.zeros(palette.shape, np.uint8)
        half[..., columns] = lungs[..., columns]
        write(tmp_path / "p" / f"p_{side}_lung.nii", image_of(half))
    for name, kept in (("infection", slice(0, 3)), ("lung_lesion_2", slice(3, None))):
        part = np.zeros(palette.shape, np.uint8)
        part[kept] = lesions[kept]
        write(tmp_path / "p" / f"{name}.nii", image_of(part))
    assert np.array_equal(read(tmp_path / "p")[1], palette)


def test_values_are_rounded_and_nothing_lies_below_air(tmp_path: Path, palette: NDArray[np.uint8]) -> None:
    values = np.full(palette.shape, -800.4, np.float32)
    values[0, 0, :3] = (-3024, 70000, 12.6)
    write(tmp_path / "p" / "ct.nrrd", image_of(values))
    write(tmp_path / "p" / "mask.nrrd", image_of(palette))
    found, _ = read(tmp_path / "p")
    assert found[0, 0, :4].tolist() == [-1024, 32767, 13, -800]


@pytest.mark.parametrize("change", ["size", "spacing", "origin", "direction"])
@pytest.mark.parametrize("name", ["mask", "lesion"])
def test_a_mask_on_another_grid_is_refused(
    tmp_path: Path, slices: NDArray[np.int16], palette: NDArray[np.uint8], name: str, change: str
) -> None:
    mask = image_of(palette[:-1] if change == "size" else palette)
    if change == "spacing":
        mask.SetSpacing((0.8, 0.7, 4.9))
    elif change == "origin":
        mask.SetOrigin((-120.0, -80.0, 32.5))
    elif change == "direction":
        mask.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    write(tmp_path / "p" / "ct.nrrd", image_of(slices))
    write(tmp_path / "p" / f"{name}.nrrd", mask)
    if name == "lesion":
        write(tmp_path / "p" / "lung.nrrd", image_of(palette))
    with pytest.raises(ValueError, match=rf"{name}\.nrrd lies on another grid than ct\.nrrd .*resample"):
        read(tmp_path / "p")


def test_rounding_in_a_header_is_no_other_grid(
    tmp_path: Path, slices: NDArray[np.int16], palette: NDArray[np.uint8]
) -> None:
    mask = image_of(palette)
    mask.SetOrigin((-120.01, -80.0, 30.01))
    write(tmp_path / "p" / "ct.nrrd", image_of(slices))
    write(tmp_path / "p" / "mask.nrrd", mask)
    assert np.array_equal(read(tmp_path / "p")[1], palette)


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ((), r"ct\.nii has no lesion mask beside it: add"),
        (("lung",), r"ct\.nii has no lesion mask beside it: add"),
        (("lesion",), r"ct\.nii has no lung mask beside it: add"),
        (("mask", "lesion"), r"ct\.nii has mask\.nii, lesion\.nii beside it: leave either"),
        (("mask", "p_mask"), r"ct\.nii has mask\.nii, p_mask\.nii beside it: leave either"),
        (("mask", "image"), r"holds 2 CTs \(ct\.nii, image\.nii\)"),
    ],
)
def test_missing_and_contradicting_files_are_named(
    tmp_path: Path, slices: NDArray[np.int16], palette: NDArray[np.uint8], present: tuple[str, ...], message: str
) -> None:
    write(tmp_path / "p" / "ct.nii", image_of(slices))
    for name in present:
        write(tmp_path / "p" / f"{name}.nii", image_of(palette))
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "p")


@pytest.mark.parametrize("scale", ["unit", "grey levels", "stored values", "padded stored values"])
def test_values_that_are_no_hounsfield_units_are_refused(
    tmp_path: Path, slices: NDArray[np.int16], palette: NDArray[np.uint8], scale: str
) -> None:
    shifted = slices + np.int16(1000)
    values = {
        "unit": (shifted / 1400).astype(np.float32),
        "grey levels": (shifted / 1400 * 255).astype(np.uint8),
        "stored values": shifted,
        "padded stored values": np.where(shifted < 50, -2000, shifted).astype(np.int16),
    }[scale]
    write(tmp_path / "p" / "ct.nrrd", image_of(values))
    write(tmp_path / "p" / "mask.nrrd", image_of(palette))
    with pytest.raises(ValueError, match=r"ct\.nrrd does not hold Hounsfield units: its values reach from .* again"):
        read(tmp_path / "p")


def test_values_that_are_no_numbers_are_refused(
    tmp_path: Path, slices: NDArray[np.int16], palette: NDArray[np.uint8]
) -> None:
    values = slices.astype(np.float32)
    values[0, 0, 0] = np.nan
    write(tmp_path / "p" / "ct.nrrd", image_of(values))
    write(tmp_path / "p" / "mask.nrrd", image_of(palette))
    with pytest.raises(ValueError, match=r"ct\.nrrd holds values that are no numbers"):
        read(tmp_path / "p")


def test_another_labelling_in_one_mask_is_refused(
    tmp_path: Path, slices: NDArray[np.int16], palette: NDArray[np.uint8]
) -> None:
    write(tmp_path / "p" / "ct.nrrd", image_of(slices))
    write(tmp_path / "p" / "mask.nrrd", image_of(palette * np.uint8(85)))
    with pytest.raises(ValueError, match=r"mask\.nrrd holds the values 85, 170, 255, which mean nothing here: relabel"):
        read(tmp_path / "p")


def test_damaged_files_and_flat_pictures_are_refused(tmp_path: Path, palette: NDArray[np.uint8]) -> None:
    write(tmp_path / "p" / "mask.nrrd", image_of(palette))
    (tmp_path / "p" / "ct.nrrd").write_bytes(b"NRRD0004\nnothing of the kind")
    with pytest.raises(ValueError, match=r"ct\.nrrd cannot be read"):
        read(tmp_path / "p")
    write(tmp_path / "p" / "ct.nrrd", sitk.GetImageFromArray(palette[0]))
    with pytest.raises(ValueError, match=r"ct\.nrrd is no volume of single values"):
        read(tmp_path / "p")


def pictures() -> dict[str, NDArray[np.uint8]]:
    """Lesion reaches out of the lung."""
    parts = {name: np.zeros((256, 256), np.uint8) for name in ("ct", "lung", "lesion", "mask")}
    parts["ct"][:] = np.arange(256)
    parts["lung"][50:150, 50:200] = 255
    parts["lesion"][140:160, 60:70] = 1
    parts["mask"][50:150, 50:200] = LUNG
    parts["mask"][140:150, 60:70] = LESION
    parts["mask"][150:160, 60:70] = LESION_OUTSIDE_LUNG
    return parts


@pytest.mark.parametrize("labelling", LABELLINGS, ids="+".join)
def test_pictures_with_one_mask_or_two(tmp_path: Path, labelling: tuple[str, ...]) -> None:
    for number in (3, 4):
        for name in ("ct", *labelling):
            Image.fromarray(pictures()[name]).save(tmp_path / f"{number:04d}_{name}.png")
    grey, palette = read(tmp_path)
    assert grey.dtype == np.uint8
    assert np.array_equal(grey, np.stack([pictures()["ct"]] * 2))
    assert np.array_equal(palette, np.stack([pictures()["mask"]] * 2))


def test_a_coloured_mask_counts_where_it_is_not_black(tmp_path: Path) -> None:
    parts = pictures()
    Image.fromarray(parts["ct"]).save(tmp_path / "0001_ct.png")
    Image.fromarray(parts["lung"]).convert("RGBA").save(tmp_path / "0001_lung.png")
    blue = np.zeros((256, 256, 3), np.uint8)
    blue[..., 2] = parts["lesion"]
    Image.fromarray(blue).save(tmp_path / "0001_lesion.png")
    assert np.array_equal(read(tmp_path)[1][0], parts["mask"])


def test_a_picture_without_all_its_masks_is_named(tmp_path: Path) -> None:
    for name in ("ct", "lung"):
        Image.fromarray(pictures()[name]).save(tmp_path / f"0007_{name}.png")
    with pytest.raises(ValueError, match=r"0007_ct\.png has no mask beside it: .* no 0007_lesion\.png either"):
        read(tmp_path)


def test_a_folder_in_no_layout_is_no_case(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("nothing to see")
    assert case_names(tmp_path, READERS) == ()
    with pytest.raises(ValueError, match="not a labelled case in any layout known"):
        read(tmp_path / "notes")
