"""Findings as DICOM objects of the study of origin, and as ``findings.json``.

``BUILDERS`` is the table of contents: a new kind of result is one file here and one line there. Every object goes
into a series of its own, under UIDs that ``dicom_node.uids`` mints, with patient and study attributes of the source.
Knows nothing of peers, jobs and databases.
"""

from pathlib import Path

from pydicom.uid import (
    ComprehensiveSRStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_node.records import ResultKind, ResultObject
from dicom_node.results.findings_document import findings_document, outcome_of
from dicom_node.results.key_objects import build_key_objects
from dicom_node.results.measurements import build_measurements
from dicom_node.results.part10 import write_part10
from dicom_node.results.report import build_report
from dicom_node.results.request import ResultRequest
from dicom_node.results.result_builder import ResultBuilder
from dicom_node.results.segmentation import build_segmentation
from dicom_node.results.study_header import read_study_header
from dicom_node.results.summary import build_summary

__all__ = ["BUILDERS", "ResultRequest", "findings_document", "outcome_of", "write_results"]

BUILDERS: tuple[ResultBuilder, ...] = (
    ResultBuilder(kind=ResultKind.SEGMENTATION, sop_class_uid=SegmentationStorage, build=build_segmentation),
    ResultBuilder(kind=ResultKind.REPORT, sop_class_uid=ComprehensiveSRStorage, build=build_report),
    ResultBuilder(kind=ResultKind.SUMMARY, sop_class_uid=SecondaryCaptureImageStorage, build=build_summary),
    ResultBuilder(
        kind=ResultKind.KEY_OBJECTS, sop_class_uid=KeyObjectSelectionDocumentStorage, build=build_key_objects
    ),
    ResultBuilder(kind=ResultKind.MEASUREMENTS, sop_class_uid=ComprehensiveSRStorage, build=build_measurements),
)
"""What the node makes of a study, in the order of the series numbers."""


def write_results(request: ResultRequest, folder: Path) -> tuple[ResultObject, ...]:
    """Write the result objects of a study as Part 10 files into ``folder``, which is made where missing.

    The same request gives the same UIDs and the same bytes. A file appears complete or not at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header = read_study_header(request)
    written = []
    for builder in BUILDERS:
        data_set = builder.build(request, header)
        if data_set is None:
            continue
        path = folder / f"{builder.kind.value}.dcm"
        write_part10(data_set, path)
        written.append(
            ResultObject(
                kind=builder.kind,
                sop_instance_uid=str(data_set.SOPInstanceUID),
                sop_class_uid=str(data_set.SOPClassUID),
                series_uid=str(data_set.SeriesInstanceUID),
                path=path,
            )
        )
    return tuple(written)
