"""A Storage SCP with a real spool and index, and a sender that puts chosen bytes on the wire."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from dicom_node.association import Intake, StorageScp
from dicom_node.index import Index, open_database
from dicom_node.settings import ScpSettings
from dicom_node.spool import SegmentSpool
from tests.spool_contents import content, stored_files
from tests.synthetic_ct import ct_slice

OUR_AE = "DICOMNODE"


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """A listening node without its back rooms."""

    scp: StorageScp
    intake: Intake
    spool: SegmentSpool
    folder: Path
    """Of the spool."""
    index: Index

    @property
    def port(self) -> int:
        return self.scp.port


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A C-STORE response; ``status`` is ``None`` where none came."""

    status: int | None
    comment: str


class Sender:
    """A Storage SCU that sends bytes verbatim, and command fields that need not agree with them."""

    def __init__(self, association: Association) -> None:
        self.association = association
        self._message_id = 0

    def store(
        self,
        encoded: bytes,
        *,
        instance_uid: str | None,
        class_uid: str = CTImageStorage,
        context_class_uid: str | None = None,
        syntax: str = ExplicitVRLittleEndian,
    ) -> Answer:
        self._message_id += 1
        request = C_STORE()
        request.MessageID, request.Priority = self._message_id, 2
        request.AffectedSOPClassUID = UID(class_uid)
        request._affected_sop_instance_uid = None if instance_uid is None else UID(instance_uid)
        request.DataSet = BytesIO(encoded)
        context = next(
            one.context_id
            for one in self.association.accepted_contexts
            if one.abstract_syntax == (context_class_uid or class_uid) and one.transfer_syntax[0] == syntax
        )
        self.association._reactor_checkpoint.clear()
        while not self.association._is_paused:
            time.sleep(0.0001)
        self.association.dimse.send_msg(request, context)
        _, response = self.association.dimse.get_msg(block=True)
        self.association._reactor_checkpoint.set()
        if response is None:
            return Answer(status=None, comment="")
        return Answer(status=response.Status, comment=str(response.ErrorComment or ""))


def encoded_slice(number: int, **changes: str) -> bytes:
    """A CT slice as a data set in Explicit VR Little Endian."""
    dataset = ct_slice(number, (0.0, 0.0, float(number)))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    encoded = encode(dataset, False, True)
    assert encoded is not None
    return encoded


def slice_uid(number: int) -> str:
    return str(ct_slice(number, (0.0, 0.0, 0.0)).SOPInstanceUID)


def kept(spool: SegmentSpool) -> list[bytes]:
    """The data sets in a spool, as they came."""
    stored = [spool.describe(file) for file in stored_files(spool)]
    return [content(one.file)[-one.size_bytes :] for one in stored]


@pytest.fixture
def start_receiver(tmp_path: Path) -> Iterator[Callable[..., Receiver]]:
    running: list[Receiver] = []

    def start(
        *, minimum_free_bytes: int = 0, parts: Mapping[str, Any] = MappingProxyType({}), **settings: object
    ) -> Receiver:
        scp_settings = ScpSettings.model_validate({"ae_title": OUR_AE, "bind": "127.0.0.1", "port": 0, **settings})
        spool = SegmentSpool(tmp_path / "spool", minimum_free_bytes=minimum_free_bytes)
        index = Index(open_database(tmp_path / "node.sqlite"))
        intake = Intake(spool, index)
        receiver = Receiver(
            scp=StorageScp(scp_settings, intake, **parts),
            intake=intake,
            spool=spool,
            folder=tmp_path / "spool",
            index=index,
        )
        receiver.scp.start()
        running.append(receiver)
        return receiver

    yield start
    for receiver in running:
        receiver.scp.stop()
        receiver.intake.close()


@pytest.fixture
def receiver(start_receiver: Callable[..., Receiver]) -> Receiver:
    return start_receiver()


@pytest.fixture
def connect() -> Iterator[Callable[..., Association]]:
    """Open an association to a port of this machine; what is still open at the end is aborted."""
    opened: list[Association] = []
    sockets: list[socket.socket] = []

    def associate(
        port: int,
        *contexts: tuple[str, str],
        called_ae: str = OUR_AE,
        calling_ae: str = "MODALITY",
    ) -> Association:
        ae = AE(ae_title=calling_ae)
        ae.acse_timeout = ae.network_timeout = 20
        ae.dimse_timeout = 5
        for class_uid, syntax in contexts or ((CTImageStorage, ExplicitVRLittleEndian),):
            ae.add_requested_context(class_uid, syntax)
        association = ae.associate("127.0.0.1", port, ae_title=called_ae)
        opened.append(association)
        connection = association.dul.socket
        if connection is not None and connection.socket is not None:
            sockets.append(connection.socket)
        return association

    yield associate
    for association in opened:
        if association.is_established:
            association.abort()
    for connection in sockets:  # pynetdicom's requestor leaves them open where the peer vanished
        connection.close()
