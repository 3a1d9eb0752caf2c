"""What a destination gets in place of an object whose SOP class it does not take. Data, and one pure function.

Report and picture are written for every study, so every line ends with them, and they stand in for each other: what
takes structured reports or plain images, which is every archive, gets the result in words. Contours become the picture
that shows them; measurements and key images become the report, which holds the numbers and names the images.
Where a destination already gets the stand-in, nothing more is sent. Refused for other reasons (damaged, not
authorised) is not covered: another object would not be taken either, and an operator has to know.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from dicom_node.records import ResultKind, ResultObject

FALLBACKS: Final[Mapping[ResultKind, ResultKind]] = MappingProxyType(
    {
        ResultKind.SEGMENTATION: ResultKind.SUMMARY,
        ResultKind.MEASUREMENTS: ResultKind.REPORT,
        ResultKind.KEY_OBJECTS: ResultKind.REPORT,
        ResultKind.REPORT: ResultKind.SUMMARY,
        ResultKind.SUMMARY: ResultKind.REPORT,
    }
)
"""Each kind, and what is tried next; the line is followed until something is taken or it comes back to its start."""


def stand_ins(objects: Sequence[ResultObject]) -> dict[str, str]:
    """SOP Instance UID of each object of one analysis, and that of its stand-in, where the analysis wrote one."""
    by_kind = {one.kind: one.sop_instance_uid for one in objects}
    return {one.sop_instance_uid: by_kind[FALLBACKS[one.kind]] for one in objects if FALLBACKS[one.kind] in by_kind}
