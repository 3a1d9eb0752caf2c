"""Part 10 files (PS3.10) by the same intake as C-STORE: for doors that bring files, STOW-RS and folders.

File meta information takes the place of presentation context and command: it must name a SOP class and a transfer
syntax that an association would be accepted for, and agree with the data set. Preamble and file meta information are
read and thrown away; the spool writes its own.
"""

from dicom_node.association.contexts import ANALYSED_CLASSES, STORED_CLASSES, TRANSFER_SYNTAXES
from dicom_node.association.intake import Incoming, Intake
from dicom_node.association.requests import Offer
from dicom_node.errors import InstanceRefused, StoreStatus
from dicom_node.headers import FileMeta, head_length, read_file_meta
from dicom_node.records import InstanceFacts

ACCEPTED_CLASSES = frozenset({*ANALYSED_CLASSES, *STORED_CLASSES})


class ArrivingFile:
    """One file that comes block by block; its data set goes straight to the spool. Used by one thread at a time.

    ``source`` stands in the index where instances from the network have the calling AE title. With ``study_uid`` only
    instances of that study are taken. Ends with ``finish`` or ``discard``.
    """

    def __init__(self, intake: Intake, *, source: str, study_uid: str = "") -> None:
        self.source = source
        self.meta: FileMeta | None = None
        """Once the head of the file is whole and can be read."""
        self.is_new = False
        """After ``finish``: false where the instance was held already."""
        self._intake = intake
        self._study_uid = study_uid
        self._head = bytearray()
        self._incoming: Incoming | None = None

    def write(self, block: bytes) -> None:
        """The next bytes of the file.

        Raises ``InstanceRefused`` as soon as it is known that it cannot be taken, and ``ResourceExhausted``.
        """
        if self._incoming is not None:
            self._incoming.write([memoryview(block)])
            return
        self._head += block
        length = head_length(self._head)
        if length is not None and len(self._head) >= length:
            self._end_head()

    def finish(self) -> InstanceFacts:
        """The file is whole: returns when its instance is durable.

        Raises ``InstanceRefused`` and ``ResourceExhausted``.
        """
        incoming = self._incoming or self._end_head()
        facts = incoming.check()
        if self._study_uid and facts.study_uid != self._study_uid:
            raise InstanceRefused(StoreStatus.MISMATCH, "not of the study that the address names")
        self.is_new = incoming.commit()
        return facts

    def discard(self) -> None:
        """Leave nothing behind; after ``finish`` nothing happens."""
        if self._incoming is not None:
            self._incoming.discard()

    def _end_head(self) -> Incoming:
        head = bytes(self._head)
        self.meta = meta = read_file_meta(head)
        if not meta.sop_class_uid:
            raise InstanceRefused(StoreStatus.MISMATCH, "file meta information names no SOP class")
        if meta.sop_class_uid not in ACCEPTED_CLASSES:
            raise InstanceRefused(StoreStatus.CLASS_NOT_SUPPORTED, "SOP class is not accepted")
        if meta.transfer_syntax_uid not in TRANSFER_SYNTAXES:
            raise InstanceRefused(StoreStatus.SYNTAX_NOT_SUPPORTED, "transfer syntax is not accepted")
        self._incoming = self._intake.begin(
            Offer(
                calling_ae=self.source,
                sop_class_uid=meta.sop_class_uid,
                sop_instance_uid=meta.sop_instance_uid,
                context_sop_class_uid=meta.sop_class_uid,
                transfer_syntax_uid=meta.transfer_syntax_uid,
            )
        )
        self._incoming.write([memoryview(head)[meta.start :]])
        return self._incoming
