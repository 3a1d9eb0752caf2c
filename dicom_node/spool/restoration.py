"""Gives instances of a folder the UIDs that their de-identification took away.

Public data sets come without SOP Instance UIDs, or with UUIDs where UIDs belong; no archive accepts such files and no
result can refer to them. ``infer`` reads copies with derived UIDs: the same file always gets the same ones, files with
the same text where the Study or Series Instance UID belongs stay together. Never used for received instances.
"""

import hashlib
import struct
import warnings
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from dicom_node.headers import is_valid_uid
from dicom_node.uids import restored_uid

UNREADABLE = (InvalidDicomError, OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, struct.error)
"""What pydicom is known to raise for files that it cannot read or write."""


def restore_uids(path: Path, folder: Path) -> Path | None:
    """Write a copy of ``path`` with valid UIDs into ``folder``; ``None`` where the file cannot be read at all."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the invalid values are why we are here
            instance = pydicom.dcmread(path)
            for keyword, fallback in (
                ("StudyInstanceUID", str(path.parent)),
                ("SeriesInstanceUID", str(path.parent)),
                ("SOPInstanceUID", digest),
            ):
                text = str(instance.get(keyword) or "")
                if not is_valid_uid(text):
                    setattr(instance, keyword, restored_uid(keyword, text or fallback))
            instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
            instance.file_meta.MediaStorageSOPClassUID = instance.SOPClassUID
            target = folder / f"{digest}.dcm"
            instance.save_as(target, enforce_file_format=True)
    except UNREADABLE:
        return None
    return target
