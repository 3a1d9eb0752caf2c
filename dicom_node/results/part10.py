"""Writing a result as a Part 10 file (PS3.10 section 7): complete or not at all.

Owns the file meta information and the steps that make a file durable.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

TRANSFER_SYNTAX: Final = ExplicitVRLittleEndian
"""Of every result: every PACS takes it."""


def write_part10(data_set: Dataset, path: Path) -> None:
    """Write the data set in ``TRANSFER_SYNTAX``.

    A reader of ``path`` sees the whole file or none: temporary file, fsync, rename, fsync of the folder.
    """
    data_set.file_meta = _file_meta(data_set)
    data_set.preamble = b"\0" * 128
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".writing-", delete=False) as file:
        temporary = Path(file.name)
        try:
            dcmwrite(file, data_set, enforce_file_format=True, overwrite=True)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _file_meta(data_set: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    meta.TransferSyntaxUID = TRANSFER_SYNTAX
    # Not pydicom's nor highdicom's: the implementation that answers for the object is this node.
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
