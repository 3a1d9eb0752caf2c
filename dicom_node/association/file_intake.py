"""Part 10 files (PS3.10) by the same intake as C-STORE: for doors that bring files, STOW-RS and folders.

File meta information takes the place of presentation context and command: it must name a SOP class and a transfer
syntax that an association would be accepted for, and agree with the data set. Preamble and file meta information are
read and thrown away; the spool writes its own.
"""

from collections.abc import Callable

from dicom_node.association import ReceivedInstance
from dicom_node.association.contexts import ANALYSED_CLASSES, STORED_CLASSES, TRANSFER_SYNTAXES
from dicom_node.errors import InstanceRefused, StoreStatus
from dicom_node.headers import FileMeta, facts_from_data_set, head_length, read_file_meta
from dicom_node.records import InstanceFacts

ACCEPTED_CLASSES = frozenset({*ANALYSED_CLASSES, *STORED_CLASSES})
MAXIMUM_FILE_BYTES = 2 * 1024**3
"""A data set is held in memory while it is checked. Larger ones come by C-STORE."""


class ArrivingFile:
    """One file that comes block by block.

    ``source`` stands in the index where instances from the network have the calling AE title. With ``study_uid`` only
    instances of that study are taken.
    """

    def __init__(
        self, intake: Callable[[ReceivedInstance], InstanceFacts], *, source: str, study_uid: str = ""
    ) -> None:
        self.source = source
        self.meta: FileMeta | None = None
        """Once the head of the file is whole and can be read."""
        self._intake = intake
        self._study_uid = study_uid
        self._head = bytearray()
        self._encoded = bytearray()

    def write(self, block: bytes) -> None:
        """The next bytes of the file. Raises ``InstanceRefused`` as soon as it is known that it cannot be taken."""
        if self.meta is not None:
            self._append(block)
            return
        self._head += block
        length = head_length(self._head)
        if length is not None and len(self._head) >= length:
            self._end_head()

    def finish(self) -> InstanceFacts:
        """The file is whole: returns when its instance is durable.

        Raises ``InstanceRefused`` and ``ResourceExhausted``.
        """
        if self.meta is None:
            self._end_head()
        meta = self.meta
        assert meta is not None  # noqa: S101 - the head was read, or an exception raised
        encoded = bytes(self._encoded)
        self.discard()
        if self._study_uid and facts_from_data_set(encoded, meta.transfer_syntax_uid).study_uid != self._study_uid:
            raise InstanceRefused(StoreStatus.MISMATCH, "not of the study that the address names")
        return self._intake(
            ReceivedInstance(
                calling_ae=self.source,
                sop_class_uid=meta.sop_class_uid,
                sop_instance_uid=meta.sop_instance_uid,
                context_sop_class_uid=meta.sop_class_uid,
                transfer_syntax_uid=meta.transfer_syntax_uid,
                encoded=encoded,
            )
        )

    def discard(self) -> None:
        """Forget what was written."""
        self._head, self._encoded = bytearray(), bytearray()

    def _end_head(self) -> None:
        head = bytes(self._head)
        self._head = bytearray()
        self.meta = read_file_meta(head)
        if not self.meta.sop_class_uid:
            raise InstanceRefused(StoreStatus.MISMATCH, "file meta information names no SOP class")
        if self.meta.sop_class_uid not in ACCEPTED_CLASSES:
            raise InstanceRefused(StoreStatus.CLASS_NOT_SUPPORTED, "SOP class is not accepted")
        if self.meta.transfer_syntax_uid not in TRANSFER_SYNTAXES:
            raise InstanceRefused(StoreStatus.SYNTAX_NOT_SUPPORTED, "transfer syntax is not accepted")
        self._append(head[self.meta.start :])

    def _append(self, block: bytes) -> None:
        if len(self._encoded) + len(block) > MAXIMUM_FILE_BYTES:
            raise InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, "larger than 2 GiB: send it by C-STORE")
        self._encoded += block
