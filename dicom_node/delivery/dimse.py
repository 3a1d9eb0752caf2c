"""A Storage SCU on pynetdicom (PS3.4 Annex B). Foreign exceptions and empty answers are translated here, once."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
import structlog
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from dicom_node.delivery.base import SendOutcome
from dicom_node.delivery.encryption import Encryption
from dicom_node.delivery.status import SUCCESS, Meaning, meaning
from dicom_node.errors import PeerUnavailable, SettingsError
from dicom_node.records import ResultObject
from dicom_node.settings import DestinationSettings
from dicom_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

log = structlog.get_logger(__name__)

VERIFICATION = "1.2.840.10008.1.1"
MAXIMUM_PDU_BYTES = 256 * 1024
UNREADABLE = (OSError, InvalidDicomError, ValueError, EOFError)
UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


@dataclass(frozen=True, slots=True)
class Address:
    """Where an application entity listens."""

    ae_title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """``AET@HOST:PORT``. Raises ``SettingsError``."""
        ae_title, _, place = text.partition("@")
        host, _, port = place.rpartition(":")
        if not ae_title or not host or not port.isdigit():
            raise SettingsError([f"{text!r}: expected AET@HOST:PORT, e.g. ORTHANC@10.0.0.5:4242"])
        return cls(ae_title, host, int(port))

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A Part 10 file to be sent, and what its presentation context must be."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: UID
    transfer_syntax_uid: str


class DimseDestination:
    """Implements ``Destination`` by C-STORE."""

    def __init__(self, settings: DestinationSettings, *, calling_ae: str) -> None:
        self._settings = settings
        self._calling_ae = calling_ae
        self._address = Address(settings.ae_title, settings.host, settings.port)

    @property
    def name(self) -> str:
        """As the settings name it."""
        return self._settings.name

    def send(self, objects: Sequence[ResultObject]) -> Iterator[SendOutcome]:
        """See ``Destination.send``."""
        outgoing = []
        for result in objects:
            try:
                outgoing.append(describe(result.path))
            except (*UNREADABLE, AttributeError):
                yield _unreadable(result.sop_instance_uid, result.path)
        while outgoing:
            try:
                with associated(
                    self._address,
                    calling_ae=self._calling_ae,
                    contexts={(one.sop_class_uid, one.transfer_syntax_uid) for one in outgoing},
                    connect_timeout_s=self._settings.connect_timeout_s,
                    response_timeout_s=self._settings.response_timeout_s,
                    encryption=self._encryption(),
                ) as association:
                    yield from _until_it_breaks(association, outgoing)
            except NothingAccepted:
                yield from map(not_taken, outgoing)
                return

    def echo(self) -> None:
        """See ``Destination.echo``."""
        with associated(
            self._address,
            calling_ae=self._calling_ae,
            contexts={(VERIFICATION, str(ImplicitVRLittleEndian))},
            connect_timeout_s=self._settings.connect_timeout_s,
            response_timeout_s=self._settings.response_timeout_s,
            encryption=self._encryption(),
        ) as association:
            status = association.send_c_echo().get("Status")
        if status != SUCCESS:
            raise PeerUnavailable(f"{self._address} took the association but did not answer C-ECHO with success")

    def _encryption(self) -> Encryption | None:
        tls = self._settings.tls
        return None if tls is None else Encryption(tls, host=self._settings.host, destination=self._settings.name)


def describe(path: Path) -> Outgoing:
    """What a Part 10 file holds. Raises ``InvalidDicomError`` and ``OSError``."""
    header = pydicom.dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
    return Outgoing(
        path=path,
        sop_instance_uid=str(header.SOPInstanceUID),
        sop_class_uid=UID(header.SOPClassUID),
        transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
    )


def offered_syntaxes(transfer_syntax_uid: str) -> tuple[str, ...]:
    """What an object in this transfer syntax is offered in, each in a presentation context of its own."""
    if transfer_syntax_uid in UNCOMPRESSED:
        return tuple(dict.fromkeys((transfer_syntax_uid, str(ImplicitVRLittleEndian))))
    return (transfer_syntax_uid,)


class NothingAccepted(PeerUnavailable):
    """The peer took the association, but none of the presentation contexts."""


@contextmanager
def associated(
    address: Address,
    *,
    calling_ae: str,
    contexts: set[tuple[str, str]],
    connect_timeout_s: float,
    response_timeout_s: float,
    encryption: Encryption | None = None,
    scp_roles: Sequence[str] = (),
) -> Iterator[Association]:
    """An association with one presentation context for each (SOP class, transfer syntax), released at the end.

    Of the SOP classes in ``scp_roles`` the node wants to be SCP, though it is the requestor.

    Uncompressed objects are offered in both little endian syntaxes, so that a peer with the default one only can take
    them. Raises ``PeerUnavailable``; ``NothingAccepted`` where no object of these kinds will ever be taken.
    """
    ae = AE(ae_title=calling_ae)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = connect_timeout_s
    ae.acse_timeout = connect_timeout_s
    ae.dimse_timeout = ae.network_timeout = response_timeout_s
    ae.maximum_pdu_size = MAXIMUM_PDU_BYTES
    for sop_class, syntax in sorted(contexts):
        for offered in offered_syntaxes(syntax):
            ae.add_requested_context(sop_class, offered)
    rejections: list[str] = []
    association = ae.associate(
        address.host,
        address.port,
        ae_title=address.ae_title,
        max_pdu=MAXIMUM_PDU_BYTES,
        ext_neg=[build_role(sop_class, scp_role=True) for sop_class in scp_roles],
        tls_args=None if encryption is None else encryption.tls_args,
        # A rejection that comes at once is an abort to pynetdicom's own flags, now and then: two threads, one queue.
        evt_handlers=[(evt.EVT_PDU_RECV, lambda event: rejections.extend(_rejection(event.pdu)))],
    )
    if not association.is_established:
        # pynetdicom aborts such an association by itself, which must not look like a peer that aborts.
        if association.rejected_contexts and not association.accepted_contexts:
            raise NothingAccepted(f"{address} accepted none of the SOP classes")
        insecure = None
        if encryption is not None:
            insecure = encryption.why_not
            encryption.close()
        raise PeerUnavailable(f"{address} {insecure or _why_not(association, rejections)}")
    connection = association.dul.socket
    tcp = None if connection is None else connection.socket
    try:
        yield association
    finally:
        _end(association, tcp)


def _end(association: Association, tcp: socket.socket | None) -> None:
    if association.is_established:
        association.release()
    elif tcp is not None:
        tcp.close()  # pynetdicom leaves it to the garbage collector where the peer vanished


def _until_it_breaks(association: Association, outgoing: list[Outgoing]) -> Iterator[SendOutcome]:
    """Send in order, taking from ``outgoing``, up to and with the object over which the peer ends the association.

    The others go on in another association: one object that a peer cannot bear must not hold back the report.
    """
    while outgoing:
        one = outgoing.pop(0)
        try:
            yield store(association, one)
        except PeerUnavailable as error:
            uid = one.sop_instance_uid
            yield SendOutcome(sop_instance_uid=uid, meaning=Meaning.LATER, status=None, message=str(error))
            return


def store(association: Association, outgoing: Outgoing) -> SendOutcome:
    """Send one file. Raises ``PeerUnavailable`` where the association is gone."""
    accepted = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in association.accepted_contexts
    }
    # pynetdicom turns uncompressed data sets into the accepted uncompressed syntax by itself; compressed ones stay.
    offered = offered_syntaxes(outgoing.transfer_syntax_uid)
    if not any((outgoing.sop_class_uid, syntax) in accepted for syntax in offered):
        return not_taken(outgoing)
    if not association.is_established:
        raise PeerUnavailable("the destination ended the association")
    try:
        dataset = pydicom.dcmread(outgoing.path)
    except UNREADABLE:
        return _unreadable(outgoing.sop_instance_uid, outgoing.path)
    try:
        answer = association.send_c_store(dataset)
    except RuntimeError as error:
        raise PeerUnavailable("the destination ended the association while an object was sent") from error
    except (ValueError, AttributeError) as error:
        # pynetdicom cannot encode it, now or later; the text may quote the data set, so only its kind is told.
        log.error("outgoing_file_not_encodable", file=outgoing.path.name, error=type(error).__name__)
        return _refused(outgoing.sop_instance_uid, "the file cannot be encoded for this destination")
    return _outcome(outgoing.sop_instance_uid, answer)


def not_taken(outgoing: Outgoing) -> SendOutcome:
    """The outcome of a file without an accepted presentation context."""
    return SendOutcome(
        sop_instance_uid=outgoing.sop_instance_uid,
        meaning=Meaning.UNSUPPORTED,
        status=None,
        message=f"the destination does not take {outgoing.sop_class_uid.name} in this transfer syntax",
    )


def _refused(sop_instance_uid: str, message: str) -> SendOutcome:
    return SendOutcome(sop_instance_uid=sop_instance_uid, meaning=Meaning.REFUSED, status=None, message=message)


def _unreadable(sop_instance_uid: str, path: Path) -> SendOutcome:
    log.error("outgoing_file_unreadable", file=path.name, sop_instance_uid=sop_instance_uid)
    return _refused(sop_instance_uid, "the file cannot be read")


def _outcome(sop_instance_uid: str, answer: Dataset) -> SendOutcome:
    # pynetdicom answers an empty data set on time-out and abort: no status is not success.
    status = answer.get("Status")
    found = meaning(status)
    if status is None:
        raise PeerUnavailable("the destination did not answer C-STORE in time, or aborted")
    # The peer's Error Comment is not told: it may quote the patient.
    described = STORAGE_SERVICE_CLASS_STATUS.get(status)
    message = f"status {status:04X}" + (f" ({described[1]})" if described else "")
    if found is Meaning.ACCEPTED and status != SUCCESS:
        log.warning("stored_with_warning", sop_instance_uid=sop_instance_uid, status=f"{status:04X}")
    return SendOutcome(
        sop_instance_uid=sop_instance_uid,
        meaning=found,
        status=status,
        message=message,
    )


def _rejection(pdu: object) -> Iterator[str]:
    if isinstance(pdu, A_ASSOCIATE_RJ):
        yield f"rejected the association: {pdu.result_str.lower()}, {pdu.reason_str.lower()}"


def _why_not(association: Association, rejections: Sequence[str]) -> str:
    if rejections:
        return rejections[0]
    if association.is_aborted:
        return "did not accept the association: no connection, or it was aborted"
    return "cannot be reached"
