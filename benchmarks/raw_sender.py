"""A Storage SCU on a bare socket that is never the bottleneck: everything but the UIDs of an object is encoded once.

Says exactly the bytes that it is told to, so tests of what peers do wrong use it, too (PS3.8 section 9.3, PS3.7 section
9.3.1).
"""

import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.dsutils import encode

COMMAND, DATA, LAST = 0x01, 0x00, 0x02
UID_CHARACTERS = 40
"""Of the SOP Instance UIDs here: they differ in their digits only, so that one encoding fits all."""
HEADER_ELEMENTS = 100
"""Of a CT image as scanners write them."""
_PLACE = "1." + "1" * (UID_CHARACTERS - 2)


def instance_uid(number: int) -> str:
    """The UID of the object with that number."""
    return f"1.2{number:0{UID_CHARACTERS - 3}d}"


def ct_image(*, size_px: int, series: int = 1) -> Dataset:
    """A CT slice with about as many elements as scanners write."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, _PLACE
    image.StudyInstanceUID, image.SeriesInstanceUID = f"1.2.3.{series}", f"1.2.3.{series}.1"
    image.FrameOfReferenceUID = f"1.2.3.{series}.2"
    image.PatientName, image.PatientID, image.Modality = "BENCH^MARK", "BENCH", "CT"
    image.ImageType, image.SeriesDescription = ["ORIGINAL", "PRIMARY", "AXIAL"], "Thorax"
    image.SeriesNumber = image.InstanceNumber = 1
    image.SliceThickness, image.KVP, image.ConvolutionKernel = 1, 120, "B30f"
    image.ImagePositionPatient, image.ImageOrientationPatient = [-250, -250, 10], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.RescaleSlope, image.RescaleIntercept = [0.7, 0.7], 1, -1024
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows = image.Columns = size_px
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    block = image.private_block(0x0011, "BENCHMARK", create=True)
    for element in range(HEADER_ELEMENTS - len(image)):
        block.add_new(element, "LO", f"what a scanner notes {element}")
    image.PixelData = bytes(2 * size_px * size_px)
    return image


def p_data(context_id: int, control: int, fragment: bytes) -> bytes:
    """A P-DATA-TF PDU with one presentation data value."""
    return struct.pack(">BxIIBB", 4, len(fragment) + 6, len(fragment) + 2, context_id, control) + fragment


def associate_rq(
    contexts: Sequence[tuple[str, str]], *, called_ae: str, calling_ae: str, maximum_pdu: int = 16384
) -> bytes:
    """An A-ASSOCIATE-RQ; the contexts (abstract syntax, transfer syntax) get the IDs 1, 3, 5 and so on."""

    def item(kind: int, content: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(content)) + content

    proposed = b"".join(
        item(0x20, bytes((2 * index + 1, 0, 0, 0)) + item(0x30, abstract.encode()) + item(0x40, transfer.encode()))
        for index, (abstract, transfer) in enumerate(contexts)
    )
    user = item(0x50, item(0x51, struct.pack(">I", maximum_pdu)) + item(0x52, b"1.2.3.4"))
    body = struct.pack(">HH16s16s32x", 1, 0, called_ae.ljust(16).encode(), calling_ae.ljust(16).encode())
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + proposed + user
    return struct.pack(">BxI", 1, len(body)) + body


def command_set(elements: dict[int, bytes]) -> bytes:
    """A command set from element number to value (Implicit VR Little Endian, group 0000)."""
    body = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in sorted(elements.items()))
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def c_store_rq(uid: str, *, message_id: int = 1, class_uid: str = CTImageStorage) -> bytes:
    """The command set of a C-STORE request."""
    return command_set(
        {
            0x0002: _even(class_uid),
            0x0100: struct.pack("<H", 0x0001),
            0x0110: struct.pack("<H", message_id),
            0x0700: struct.pack("<H", 0),
            0x0800: struct.pack("<H", 0x0000),
            0x1000: _even(uid),
        }
    )


def _even(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


class RawAssociation:
    """A connection on which PDUs are sent as they are given. A context manager."""

    def __init__(self, port: int, *, timeout_s: float = 30.0, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.maximum_pdu = 16384

    def __enter__(self) -> "RawAssociation":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def associate(
        self,
        contexts: Sequence[tuple[str, str]] = ((CTImageStorage, ExplicitVRLittleEndian),),
        *,
        called_ae: str,
        calling_ae: str = "RAW",
    ) -> int:
        """Ask for an association; returns the type of the answer, 2 where it is established."""
        self.socket.sendall(associate_rq(contexts, called_ae=called_ae, calling_ae=calling_ae))
        kind, body = self.read_pdu()
        found = body.find(b"\x51\x00\x00\x04")
        if found >= 0:
            self.maximum_pdu = int.from_bytes(body[found + 4 : found + 8], "big") or 1024 * 1024
        return kind

    def read_pdu(self) -> tuple[int, bytes]:
        """Type and content of the next PDU; type 0 where the connection was closed."""
        head = self._read(6)
        if len(head) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxI", head)
        return kind, self._read(length)

    def read_status(self) -> int | None:
        """Status of the next response; ``None`` where something else came."""
        kind, body = self.read_pdu()
        position = 6
        while kind == 4 and position + 8 <= len(body):
            _, element, length = struct.unpack_from("<HHI", body, position)
            if element == 0x0900:
                return int.from_bytes(body[position + 8 : position + 10], "little")
            position += 8 + length
        return None

    def release(self) -> int:
        """Release; returns the type of the answer, 6 where it is in order."""
        self.socket.sendall(struct.pack(">BxIxxxx", 5, 4))
        return self.read_pdu()[0]

    def _read(self, count: int) -> bytes:
        # storescp writes its answers in two parts, and waits for our acknowledgement of the first.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        read = bytearray()
        try:
            while len(read) < count and (part := self.socket.recv(count - len(read))):
                read += part
        except ConnectionError:
            pass
        return bytes(read)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What one association has sent."""

    size_bytes: int
    latencies_s: tuple[float, ...]
    """From the first byte of each request to its response."""


class ObjectSender:
    """Sends one object over and over, each time under another SOP Instance UID. Safe to use from several threads."""

    def __init__(self, image: Dataset, *, maximum_pdu: int) -> None:
        encoded = encode(image, False, True)
        assert encoded is not None
        self._encoded = encoded
        room = maximum_pdu - 6
        parts = [encoded[start : start + room] for start in range(0, len(encoded), room)]
        last = len(parts) - 1
        command = _store_command(_PLACE, 1)
        pdus = [p_data(1, LAST if index == last else DATA, part) for index, part in enumerate(parts)]
        self._message = command + b"".join(pdus)
        self._command = slice(0, len(command))
        place = self._message.index(_PLACE.encode(), len(command))
        self._uid = slice(place, place + UID_CHARACTERS)
        assert place + UID_CHARACTERS <= len(command) + len(pdus[0])

    def encoded(self, number: int) -> bytes:
        """The data set of the object of that number."""
        return self._encoded.replace(_PLACE.encode(), instance_uid(number).encode())

    def message(self, number: int) -> bytearray:
        """The PDUs that ask to store the object of that number."""
        message = bytearray(self._message)
        self._number(message, number)
        return message

    def send(self, association: RawAssociation, numbers: Sequence[int]) -> Sent:
        """Send the objects of those numbers. Raises ``AssertionError`` where one is not answered with success."""
        latencies = []
        message = bytearray(self._message)  # one memory for all objects: nothing of half a megabyte is joined or copied
        for number in numbers:
            started = time.perf_counter()
            self._number(message, number)
            association.socket.sendall(message)
            status = association.read_status()
            assert status == 0, (number, status)
            latencies.append(time.perf_counter() - started)
        return Sent(size_bytes=len(self._encoded) * len(numbers), latencies_s=tuple(latencies))

    def _number(self, message: bytearray, number: int) -> None:
        uid = instance_uid(number)
        message[self._command] = _store_command(uid, number % 65535 + 1)
        message[self._uid] = uid.encode()


def _store_command(uid: str, message_id: int) -> bytes:
    return p_data(1, COMMAND | LAST, c_store_rq(uid, message_id=message_id))
