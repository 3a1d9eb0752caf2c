"""Labelled studies as DICOM: a reader of cases for the model side, which knows no DICOM itself."""

import tempfile
from pathlib import Path

from dicom_node.errors import NotAnalysable
from dicom_node.headers.facts import MULTI_FRAME_CT, SINGLE_FRAME_CT
from dicom_node.records import Series, StoredInstance
from dicom_node.spool.folder import studies_in
from dicom_node.volumes import build_volume
from dicom_node.volumes.reference_masks import read_reference_segmentation
from inference.training.cases import READERS, Case, CaseReader
from inference.training.cases.orientation import axial_slices
from inference.training.cases.palette import palette_of

MINIMUM_SLICES = 2
"""Of a labelled series: two have a distance. The node asks for more before it calls them a chest."""
_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_SEGMENTATION = "SEG"
"""Modality of segmentations of every kind (PS3.3 C.8.20.1): which kind is asked when they are read."""


class DicomWithSegmentation:
    """A ``CaseReader``: one CT series and one SEG drawn on it, in any files below the folder."""

    def recognises(self, folder: Path) -> bool:
        """Whether any file below the folder is DICOM."""
        return any(_is_part10(path) for path in sorted(folder.rglob("*")) if path.is_file())

    def read(self, folder: Path) -> Case:
        """The case in Hounsfield units. Raises ``ValueError`` naming what is wrong with the SEG or the series."""
        with tempfile.TemporaryDirectory(prefix="dicom-node-") as scratch:
            found = studies_in(folder, scratch=Path(scratch))
            series = [each for study in found.studies.values() for each in study]
            segmentation = read_reference_segmentation(_only_segmentation(folder, series))
            source = _series_of(segmentation.source_uids, series)
            if source is None:
                raise ValueError(f"{segmentation.path} refers to CT images that are not in {folder}: put them there")
            try:
                built = build_volume(source, minimum_slices=MINIMUM_SLICES)
            except NotAnalysable as error:
                raise ValueError(f"{folder}: series {source.series_uid} makes no volume: {error}") from error
        masks = segmentation.masks_on(built)
        palette = palette_of(lungs=masks.lungs, lesions=masks.lesions)
        return Case(
            name=folder.name,
            slices=axial_slices(built.volume.array_zyx, built.volume.index_to_patient).copy(),
            palette=axial_slices(palette, built.volume.index_to_patient).copy(),
        )


ALL_READERS: tuple[CaseReader, ...] = (*READERS, DicomWithSegmentation())
"""DICOM last: the others tell by the names of files, this one has to open them."""


def _is_part10(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_PREAMBLE_BYTES + len(_PREFIX)).endswith(_PREFIX)


def _only_segmentation(folder: Path, series: list[Series]) -> Path:
    instances: list[StoredInstance] = [instance for each in series for instance in each.instances]
    found = [instance.file.path for instance in instances if instance.facts.modality == _SEGMENTATION]
    if not found:
        raise ValueError(f"{folder} holds DICOM files but no DICOM SEG: add the one with lungs and lesions")
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in sorted(found))
        raise ValueError(f"{folder} holds {len(found)} segmentations ({names}): leave the one that is the truth")
    return found[0]


def _series_of(source_uids: frozenset[str], series: list[Series]) -> Series | None:
    """The CT series that one of the images belongs to."""
    for each in series:
        for instance in each.instances:
            is_ct = instance.facts.sop_class_uid in SINGLE_FRAME_CT | MULTI_FRAME_CT
            if is_ct and instance.facts.sop_instance_uid in source_uids:
                return each
    return None
