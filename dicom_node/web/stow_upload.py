"""One STOW-RS request as its body arrives: every part becomes a durable instance, or a failure with its reason.

Blocking code, run in a thread: the intake waits for disks. A part that is refused is read on to its end and thrown
away, so that it harms no other part.
"""

from collections.abc import Callable
from functools import partial

import structlog

from dicom_node.association.file_intake import ArrivingFile
from dicom_node.association.requests import Brought
from dicom_node.errors import InstanceRefused, ResourceExhausted, StoreStatus
from dicom_node.records import SopReference
from dicom_node.settings import StowSettings
from dicom_node.web.multipart_related import RelatedParts
from dicom_node.web.store_response import JSON_TYPE, StoreResponse

log = structlog.get_logger(__name__)

BYTES_PER_MB = 1024 * 1024
PART_MEDIA_TYPES = ("application/dicom", "")
"""A part that names no type has that of the root (RFC 2387)."""


class RequestTooLarge(ValueError):
    """The body is longer than is allowed."""


class DiskFull(Exception):
    """Nothing more can be stored for now; the rest of the request need not be read."""


class Upload:
    """Implements ``PartReceiver``. ``arrive`` makes what takes the next file."""

    def __init__(
        self,
        boundary: str,
        settings: StowSettings,
        *,
        arrive: Callable[[], ArrivingFile],
        peer: str,
        answer_type: str = JSON_TYPE,
    ) -> None:
        self.response = StoreResponse(media_type=answer_type)
        self.studies: dict[str, Brought] = {}
        self.size_bytes = 0
        self._settings = settings
        self._arrive = arrive
        self._peer = peer
        self._file: ArrivingFile | None = None
        self._file_bytes = 0
        self._parts = RelatedParts(boundary, self, maximum_parts=settings.maximum_parts)

    def feed(self, block: bytes) -> None:
        """The next bytes of the body.

        Raises ``MalformedMultipart``, ``TooManyParts``, ``RequestTooLarge`` and ``DiskFull``; what ``response`` says
        stays true.
        """
        self.size_bytes += len(block)
        if self.size_bytes > self._settings.maximum_request_mb * BYTES_PER_MB:
            raise RequestTooLarge(f"the request is longer than {self._settings.maximum_request_mb} MiB")
        self._parts.feed(block)

    @property
    def complete(self) -> bool:
        """Whether the closing delimiter has come, after one part at least."""
        return self._parts.complete and self._parts.parts > 0

    def close(self) -> None:
        """Throw away a part that is not whole; also after an exception."""
        if self._file is not None:
            self._file.discard()
            self._file = None

    def begin_part(self, media_type: str) -> None:
        """See ``PartReceiver``."""
        self._file, self._file_bytes = self._arrive(), 0
        if media_type not in PART_MEDIA_TYPES:
            self._refuse(StoreStatus.CANNOT_UNDERSTAND, "the part is not application/dicom")

    def write_part(self, block: bytes) -> None:
        """See ``PartReceiver``."""
        if self._file is None:
            return
        self._file_bytes += len(block)
        # Written first, one block at most too many: the answer names the instance by the head of its file.
        taken = self._attempt(partial(self._file.write, block))
        if taken and self._file_bytes > self._settings.maximum_part_mb * BYTES_PER_MB:
            self._refuse(StoreStatus.CANNOT_UNDERSTAND, "the part is larger than web.stow.maximum_part_mb")

    def end_part(self) -> None:
        """See ``PartReceiver``. On return the instance is durable, or its failure is noted."""
        if self._file is not None and self._attempt(self._finish):
            self.response.stored.append(_reference(self._file))
            self._file = None

    def _finish(self) -> None:
        assert self._file is not None  # noqa: S101 - its part is being read
        facts = self._file.finish()
        self.studies.setdefault(facts.study_uid, Brought()).note(facts.sop_class_uid, new=self._file.is_new)

    def _attempt(self, step: Callable[[], object]) -> bool:
        assert self._file is not None  # noqa: S101 - its part is being read
        try:
            step()
        except InstanceRefused as refusal:
            self._refuse(refusal.status, str(refusal))
        except ResourceExhausted as error:
            self._refuse(StoreStatus.OUT_OF_RESOURCES, str(error))
            raise DiskFull(str(error)) from error
        except Exception:
            log.exception("instance_failed", source=self._file.source, address=self._peer)
            self._refuse(StoreStatus.PROCESSING_FAILURE, "internal fault; see the log of the node")
        return self._file is not None

    def _refuse(self, status: StoreStatus, reason: str) -> None:
        assert self._file is not None  # noqa: S101 - its part is being read
        log.warning(
            "instance_refused", source=self._file.source, address=self._peer, status=f"{status:04X}", reason=reason
        )
        self.response.refuse(_reference(self._file), status)
        self._file.discard()
        self._file = None


def _reference(file: ArrivingFile) -> SopReference:
    """By its file meta information; UIDs that are missing or not valid are empty."""
    if file.meta is None:
        return SopReference(sop_class_uid="", sop_instance_uid="")
    return SopReference(sop_class_uid=file.meta.sop_class_uid, sop_instance_uid=file.meta.sop_instance_uid)
