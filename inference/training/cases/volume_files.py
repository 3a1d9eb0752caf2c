"""The layout of volumes: a folder a patient with a CT and its masks as NIfTI or NRRD files.

Owns which file is what, by its name, and what makes a file unfit. Files are read with SimpleITK, which knows the axes
of both formats and gives LPS; it is imported only here and only while reading, so that it stays out of what serves.
"""

import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.training.cases.base import Case
from inference.training.cases.orientation import axial_slices
from inference.training.cases.palette import MEANING, checked_palette, palette_of
from inference.volume import HU_AIR

EXTENSIONS = (".nii", ".nii.gz", ".nrrd", ".nhdr")
GRID_TOLERANCE = 0.1
"""Of the smallest voxel edge, between corners of image and mask: single-precision headers of NIfTI stay far below, and
a mask drawn on another reconstruction is off by more."""
AIR_AND_LUNG_HU = (-1100, -500)
"""Air is -1000 and aerated lung about -850; noise reaches beyond."""
AIR_AND_LUNG_SHARE = 0.01
"""Of all voxels, at least; lungs and the air around a patient fill a third to two thirds of a chest CT."""
_HIGHEST_HU = 32767
"""Of int16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _CaseFiles:
    """The files of a case by what their names say they hold."""

    images: tuple[Path, ...]
    palettes: tuple[Path, ...]
    lungs: tuple[Path, ...]
    lesions: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grid:
    """A file's voxels and where they lie; see ``inference.volume.Volume``."""

    path: Path
    array_zyx: NDArray[Any]
    index_to_patient: NDArray[np.float64]

    def corners_mm(self) -> NDArray[np.float64]:
        """Patient positions of the centres of the eight outermost voxels, (8, 4)."""
        ends = [(0, length - 1) for length in reversed(self.array_zyx.shape)]
        return np.array([self.index_to_patient @ (*corner, 1) for corner in product(*ends)])

    def in_words(self) -> str:
        """Size, spacing, origin and directions, for the person who has to mend them."""
        spacing = np.linalg.norm(self.index_to_patient[:3, :3], axis=0)
        directions = (self.index_to_patient[:3, :3] / spacing).T.ravel()
        size = "×".join(str(length) for length in reversed(self.array_zyx.shape))
        numbers = (
            ", ".join(f"{value:.4g}" for value in each) for each in (spacing, self.index_to_patient[:3, 3], directions)
        )
        return f"size {size}, spacing {next(numbers)}, origin {next(numbers)}, directions {next(numbers)}"


class VolumeFiles:
    """A ``CaseReader``."""

    def recognises(self, folder: Path) -> bool:
        """Whether the folder holds a volume that is called a CT."""
        return bool(_files(folder).images)

    def read(self, folder: Path) -> Case:
        """The case in Hounsfield units. Raises ``ValueError`` naming the file, what is wrong and what to do."""
        files = _files(folder)
        _refuse_unclear(folder, files)
        image = _read(files.images[0])
        slices = _hounsfield_units(image)
        if files.palettes:
            palette = checked_palette(_mask(files.palettes[0], image), files.palettes[0])
        else:
            palette = palette_of(lungs=_joined(files.lungs, image), lesions=_joined(files.lesions, image))
        return Case(
            name=folder.name,
            slices=np.ascontiguousarray(axial_slices(slices, image.index_to_patient)),
            palette=np.ascontiguousarray(axial_slices(palette, image.index_to_patient)),
        )


def _files(folder: Path) -> _CaseFiles:
    """``p7_ct``: image; ``p7_lung_lesion``: lesions; ``p7_left_lung``, ``lungmask``: lungs; ``p7_mask``: palette."""
    found: dict[str, list[Path]] = {"images": [], "palettes": [], "lungs": [], "lesions": []}
    for path in sorted(folder.iterdir()):
        extension = next((each for each in EXTENSIONS if path.name.lower().endswith(each)), None)
        if extension is None or path.name.startswith(".") or not path.is_file():
            continue
        stem = path.name[: -len(extension)].lower()
        words = re.split(r"[^a-z0-9]+", stem)
        if stem == "image" or words[-1] == "ct":
            found["images"].append(path)
        elif any(word.startswith(("lesion", "infect")) for word in words):
            found["lesions"].append(path)
        elif any(word.startswith("lung") for word in words):
            found["lungs"].append(path)
        elif words[-1] == "mask":
            found["palettes"].append(path)
    return _CaseFiles(**{kind: tuple(paths) for kind, paths in found.items()})


def _refuse_unclear(folder: Path, files: _CaseFiles) -> None:
    separate = files.lungs + files.lesions
    if len(files.images) != 1:
        raise ValueError(f"{folder} holds {len(files.images)} CTs ({_names(files.images)}): one patient, one CT")
    image = files.images[0]
    if len(files.palettes) > 1 or (files.palettes and separate):
        raise ValueError(
            f"{image} has {_names(files.palettes + separate)} beside it: leave either one mask file, "
            "or files of the lungs and of the lesions"
        )
    for kind, present in (("lesion", files.lesions), ("lung", files.lungs)):
        if not files.palettes and not present:
            raise ValueError(
                f"{image} has no {kind} mask beside it: add {kind}.nii.gz (every value above 0 counts) or one "
                f"mask.nii.gz ({MEANING}); where the patient has none, all zeros"
            )


def _read(path: Path) -> _Grid:
    try:
        import SimpleITK as sitk  # noqa: N813 - as its own documentation calls it
    except ModuleNotFoundError as error:
        raise ValueError(f"{path} cannot be read without SimpleITK: run `make train-env`") from error
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise ValueError(f"{path} cannot be read: it is damaged, or its axes are not at right angles") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"{path} is no volume of single values: write one 3-D volume a file")
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return _Grid(path=path, array_zyx=sitk.GetArrayFromImage(image), index_to_patient=affine)


def _hounsfield_units(image: _Grid) -> NDArray[np.int16]:
    """As the node makes them of DICOM: rounded, nothing below ``HU_AIR``."""
    values = image.array_zyx
    if not np.isfinite(values).all():
        raise ValueError(f"{image.path} holds values that are no numbers (NaN): write air, -1000, in their place")
    lowest, highest = AIR_AND_LUNG_HU
    if np.mean((values >= lowest) & (values <= highest)) < AIR_AND_LUNG_SHARE:
        raise ValueError(
            f"{image.path} does not hold Hounsfield units: its values reach from {values.min():g} to {values.max():g}, "
            f"and hardly any is that of air or lung ({lowest} to {highest}); convert it from the DICOM series again, "
            "without normalising or windowing"
        )
    clipped: NDArray[np.int16] = np.clip(np.rint(values), HU_AIR, _HIGHEST_HU).astype(np.int16)
    return clipped


def _mask(path: Path, image: _Grid) -> NDArray[Any]:
    """A mask's values on the image's grid."""
    mask = _read(path)
    smallest_mm = np.linalg.norm(image.index_to_patient[:3, :3], axis=0).min()
    if (
        mask.array_zyx.shape != image.array_zyx.shape
        or np.abs(mask.corners_mm() - image.corners_mm()).max() > GRID_TOLERANCE * smallest_mm
    ):
        raise ValueError(
            f"{path} lies on another grid than {image.path.name} ({mask.in_words()}; the CT has {image.in_words()}): "
            "resample it onto the CT by nearest neighbour"
        )
    return mask.array_zyx


def _joined(paths: tuple[Path, ...], image: _Grid) -> NDArray[np.bool_]:
    """What any of the masks marks: left and right lung, or two kinds of lesion, may be files of their own."""
    joined = np.zeros(image.array_zyx.shape, np.bool_)
    for path in paths:
        joined |= _mask(path, image) > 0
    return joined


def _names(paths: tuple[Path, ...]) -> str:
    return ", ".join(path.name for path in paths) or "none is called ct, image or …_ct"
