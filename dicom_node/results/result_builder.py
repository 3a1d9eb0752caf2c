"""The shape of a result type: its kind, and how it is built."""

from collections.abc import Callable
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_node.records import ResultKind
from dicom_node.results.request import ResultRequest
from dicom_node.results.study_header import StudyHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultBuilder:
    """One result type.

    ``build`` gives the object, or ``None`` where the findings hold nothing for it to say. It must not depend on the
    clock, on chance or on the environment: what it needs stands in the request.
    """

    kind: ResultKind
    sop_class_uid: UID
    build: Callable[[ResultRequest, StudyHeader], Dataset | None]
