"""Copies of the de-identified real series with the UIDs that their de-identification took away.

COVID-CT-MD came without SOP Instance UIDs and Frame of Reference, with UUIDs as study and series UID; no archive takes
that. The copies get UIDs derived from those UUIDs and the Instance Number; pixel data and geometry stay as they are.
"""

import uuid
import warnings
from pathlib import Path

import pydicom


def restore(folder: Path, target: Path) -> Path:
    """Write every slice of ``folder`` with valid UIDs into ``target``; gives back ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.dcm")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the invalid UIDs are why we are here
            image = pydicom.dcmread(path)
            series = uuid.UUID(str(image.SeriesInstanceUID))
            study = uuid.UUID(str(image.StudyInstanceUID))
        image.StudyInstanceUID = f"2.25.{study.int}"
        image.SeriesInstanceUID = f"2.25.{series.int}"
        image.FrameOfReferenceUID = f"2.25.{uuid.uuid5(series, 'frame of reference').int}"
        image.SOPInstanceUID = f"2.25.{uuid.uuid5(series, str(image.InstanceNumber)).int}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(target / path.name, enforce_file_format=True)
    return target
