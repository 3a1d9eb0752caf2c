"""Part 10 files (PS3.10) by the same intake as C-STORE: for doors that bring files, STOW-RS and folders.

File meta information takes the place of presentation context and command: it must name a SOP class and a transfer
syntax that an association would be accepted for, and agree with the data set. Preamble and file meta information are
read and thrown away; the spool writes its own.
"""

from dicom_node.association.contexts import ANALYSED_CLASSES, STORED_CLASSES, TRANSFER_SYNTAXES
from dicom_node.association.intake import ReceivedInstance
from dicom_node.errors import InstanceRefused, StoreStatus
from dicom_node.headers import FileMeta

ACCEPTED_CLASSES = frozenset({*ANALYSED_CLASSES, *STORED_CLASSES})
MAXIMUM_FILE_BYTES = 2 * 1024**3
"""A whole file is held in memory while it is checked. Larger ones come by C-STORE; PS3.5 ends a value at 4 GiB."""


def received_from_file(file: bytes, meta: FileMeta, *, source: str) -> ReceivedInstance:
    """What a C-STORE request with this file would hold. ``source`` stands where the calling AE title would.

    Raises ``InstanceRefused``.
    """
    if not meta.sop_class_uid:
        raise InstanceRefused(StoreStatus.MISMATCH, "file meta information names no SOP class")
    if meta.sop_class_uid not in ACCEPTED_CLASSES:
        raise InstanceRefused(StoreStatus.CLASS_NOT_SUPPORTED, "SOP class is not accepted")
    if meta.transfer_syntax_uid not in TRANSFER_SYNTAXES:
        raise InstanceRefused(StoreStatus.SYNTAX_NOT_SUPPORTED, "transfer syntax is not accepted")
    return ReceivedInstance(
        calling_ae=source,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        context_sop_class_uid=meta.sop_class_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        encoded=file[meta.start :],
    )
