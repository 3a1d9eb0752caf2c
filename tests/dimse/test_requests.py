"""Requests that a Storage SCU does not usually make, byte by byte: each is answered, or aborts its own association."""

import struct
from collections.abc import Callable, Iterator

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from benchmarks.raw_sender import COMMAND, DATA, LAST, RawAssociation, c_store_rq, command_set, p_data
from dicom_node.association import CommitmentRequest
from dicom_node.association.contexts import STORAGE_COMMITMENT, VERIFICATION
from dicom_node.settings import ScpSettings
from tests.dimse.conftest import OUR_AE, Receiver, encoded_slice, kept, slice_uid
from tests.dimse.test_stalled_peers import threads_of_associations, wait_until
from tests.spool_contents import unfinished_bytes

CT, EXPLICIT = str(CTImageStorage), str(ExplicitVRLittleEndian)
CONTEXTS = [(CT, EXPLICIT), (VERIFICATION, EXPLICIT)]
ABORT, RELEASE_RP, P_DATA = 7, 6, 4
PROVIDER = 2
UNRECOGNISED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 1, 2, 6


@pytest.fixture
def peer(receiver: Receiver) -> Iterator[RawAssociation]:
    with RawAssociation(receiver.port, timeout_s=10) as association:
        assert association.associate(CONTEXTS, called_ae=OUR_AE) == 2
        yield association


def c_store(number: int, encoded: bytes | None = None) -> bytes:
    """A whole C-STORE request."""
    command = c_store_rq(slice_uid(number), message_id=number)
    return p_data(1, COMMAND | LAST, command) + p_data(1, LAST, encoded or encoded_slice(number))


def echo(**changes: bytes) -> bytes:
    elements = {
        0x0002: VERIFICATION.encode() + b"\0",
        0x0100: struct.pack("<H", 0x0030),
        0x0110: struct.pack("<H", 7),
        0x0800: struct.pack("<H", 0x0101),
    }
    elements |= {int(name.removeprefix("e"), 16): value for name, value in changes.items()}
    return command_set({number: value for number, value in elements.items() if value})


def aborted(peer: RawAssociation) -> tuple[int, int] | None:
    """Source and reason of the A-ABORT that comes next, responses passed over."""
    while (pdu := peer.read_pdu())[0] == P_DATA:
        pass
    return (pdu[1][2], pdu[1][3]) if pdu[0] == ABORT else None


def still_serves(receiver: Receiver) -> bool:
    with RawAssociation(receiver.port, timeout_s=10) as other:
        other.associate(called_ae=OUR_AE)
        other.socket.sendall(c_store(900))
        return other.read_status() == 0


def test_requests_sent_ahead_are_answered_one_after_the_other(peer: RawAssociation, receiver: Receiver) -> None:
    peer.socket.sendall(b"".join(c_store(number) for number in range(1, 41)) + p_data(3, COMMAND | LAST, echo()))
    for number in range(1, 41):
        kind, body = peer.read_pdu()
        assert kind == P_DATA
        assert struct.pack("<HHIH", 0, 0x0120, 2, number) in body, "answered in order"
    assert peer.read_status() == 0
    assert peer.release() == RELEASE_RP
    assert len(kept(receiver.spool)) == 40


def test_a_message_may_come_in_the_smallest_pieces(peer: RawAssociation, receiver: Receiver) -> None:
    command, encoded = c_store_rq(slice_uid(1)), encoded_slice(1)
    pdus = [p_data(1, COMMAND, command[n : n + 1]) for n in range(len(command))] + [p_data(1, COMMAND | LAST, b"")]
    pdus += [p_data(1, DATA, encoded[n : n + 1]) for n in range(len(encoded))] + [p_data(1, LAST, b"")]
    for pdu in pdus[:200]:
        peer.socket.sendall(pdu)
    peer.socket.sendall(b"".join(pdus[200:]))
    assert peer.read_status() == 0
    assert kept(receiver.spool) == [encoded]


def test_cancel_is_ignored(peer: RawAssociation) -> None:
    cancel = command_set({0x0100: b"\xff\x0f", 0x0120: b"\x01\0", 0x0800: struct.pack("<H", 0x0101)})
    peer.socket.sendall(p_data(1, COMMAND | LAST, cancel) + p_data(3, COMMAND | LAST, echo()))
    assert peer.read_status() == 0
    assert peer.release() == RELEASE_RP


@pytest.mark.parametrize(
    ("pdus", "status"),
    [
        pytest.param(p_data(3, COMMAND | LAST, echo(e0110=b"")), 0x0212, id="echo without Message ID"),
        pytest.param(p_data(3, COMMAND | LAST, echo(e0110=b"\x01\0\0\0")), 0x0212, id="Message ID of four bytes"),
        pytest.param(p_data(1, COMMAND | LAST, echo()), 0x0211, id="echo in a storage context"),
        pytest.param(
            p_data(3, COMMAND | LAST, c_store_rq(slice_uid(1))) + p_data(3, LAST, encoded_slice(1)),
            0x0211,
            id="store in a verification context",
        ),
        pytest.param(p_data(1, COMMAND | LAST, echo(e0100=b"\x20\0")), 0x0211, id="C-FIND"),
        pytest.param(p_data(1, COMMAND | LAST, echo(e0100=b"\x66\x66")), 0x0211, id="no command of DICOM"),
        pytest.param(
            p_data(1, COMMAND | LAST, echo(e0100=b"\x01\0", e1000=slice_uid(1).encode())), 0x0212, id="no data set"
        ),
        pytest.param(
            p_data(1, COMMAND | LAST, c_store_rq("")) + p_data(1, LAST, encoded_slice(1)), 0x0117, id="no instance UID"
        ),
        pytest.param(
            p_data(1, COMMAND | LAST, c_store_rq("1" * 5000)) + p_data(1, LAST, encoded_slice(1)),
            0x0117,
            id="instance UID of 5000 digits",
        ),
        pytest.param(
            p_data(1, COMMAND | LAST, c_store_rq(slice_uid(1), class_uid="")) + p_data(1, LAST, encoded_slice(1)),
            0xA900,
            id="no class UID",
        ),
        pytest.param(
            p_data(1, COMMAND | LAST, c_store_rq(slice_uid(1))) + p_data(1, LAST, b""), 0xC000, id="empty data set"
        ),
    ],
)  # fmt: skip
def test_odd_requests_are_answered_and_the_association_goes_on(
    peer: RawAssociation, receiver: Receiver, pdus: bytes, status: int
) -> None:
    peer.socket.sendall(pdus)
    assert peer.read_status() == status
    peer.socket.sendall(c_store(2))
    assert peer.read_status() == 0
    assert peer.release() == RELEASE_RP
    assert len(kept(receiver.spool)) == 1


RELEASE = struct.pack(">BxIxxxx", 5, 4)
OVERSIZE = struct.pack(">BxI", 4, ScpSettings().maximum_pdu_bytes + 1)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        pytest.param(b"\x08\x00\x00\x00\x00\x00", (PROVIDER, UNRECOGNISED_PDU), id="PDU type 8"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", (PROVIDER, UNRECOGNISED_PDU), id="a browser"),
        pytest.param(b"\x01\x00\x00\x00\x00\x04abcd", (PROVIDER, UNEXPECTED_PDU), id="a second request"),
        pytest.param(b"\x02\x00\x00\x00\x00\x04abcd", (PROVIDER, UNEXPECTED_PDU), id="an acceptance"),
        pytest.param(b"\x06\x00\x00\x00\x00\x04abcd", (PROVIDER, UNEXPECTED_PDU), id="an answer to no release"),
        pytest.param(OVERSIZE, (PROVIDER, INVALID_PARAMETER), id="longer than announced"),
        pytest.param(b"\x04\x00\xff\xff\xff\xff", (PROVIDER, INVALID_PARAMETER), id="four gigabytes"),
        pytest.param(b"\x04\x00\x00\x00\x00\x00", (PROVIDER, INVALID_PARAMETER), id="empty PDU"),
        pytest.param(p_data(5, COMMAND | LAST, echo()), (PROVIDER, INVALID_PARAMETER), id="context not proposed"),
        pytest.param(p_data(1, LAST, b"abcd"), (PROVIDER, INVALID_PARAMETER), id="data without command"),
        pytest.param(p_data(1, COMMAND | LAST, b"\xff" * 99), (PROVIDER, 0), id="no command set"),
        pytest.param(p_data(1, COMMAND | LAST, echo(e0100=b"\x01\x80")), (PROVIDER, 0), id="a response to nothing"),
        pytest.param(p_data(1, COMMAND, b"a" * 9999) * 2, (PROVIDER, INVALID_PARAMETER), id="endless command"),
        pytest.param(
            p_data(1, COMMAND | LAST, c_store_rq("1.2")) + p_data(3, LAST, b"ab"),
            (PROVIDER, INVALID_PARAMETER),
            id="data in another context",
        ),
        pytest.param(
            p_data(1, COMMAND | LAST, c_store_rq("1.2")) + p_data(1, COMMAND | LAST, echo()),
            (PROVIDER, INVALID_PARAMETER),
            id="command where data belongs",
        ),
    ],
)  # fmt: skip
def test_broken_protocol_aborts_its_own_association(
    peer: RawAssociation, receiver: Receiver, sent: bytes, answer: tuple[int, int]
) -> None:
    peer.socket.sendall(sent)
    assert aborted(peer) == answer
    assert still_serves(receiver)
    assert len(kept(receiver.spool)) == 1


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(RELEASE, id="release before the request"),
        pytest.param(p_data(1, COMMAND | LAST, echo()), id="data before the request"),
        pytest.param(b"\x01\x00\x00\x10\x00\x00" + bytes(4096), id="request of a mebibyte"),
        pytest.param(b"\x01\x00\x00\x00\x00\x44" + bytes(68), id="request of nothing"),
    ],
)
def test_before_the_association_a_fault_is_an_abort_by_the_user(receiver: Receiver, sent: bytes) -> None:
    with RawAssociation(receiver.port, timeout_s=10) as peer:
        peer.socket.sendall(sent)
        assert aborted(peer) == (0, 0)
    assert still_serves(receiver)


@pytest.mark.parametrize(
    ("old", "new", "rejection"),
    [
        (b"\x00\x01\x00\x00" + OUR_AE.encode(), b"\x00\x02\x00\x00" + OUR_AE.encode(), (1, 2, 2)),
        (b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.2", (1, 1, 2)),
    ],
    ids=["protocol version", "application context"],
)
def test_other_protocols_are_rejected(
    receiver: Receiver, old: bytes, new: bytes, rejection: tuple[int, int, int]
) -> None:
    from benchmarks.raw_sender import associate_rq

    request = associate_rq(CONTEXTS, called_ae=OUR_AE, calling_ae="RAW")
    assert old in request
    with RawAssociation(receiver.port, timeout_s=10) as peer:
        peer.socket.sendall(request.replace(old, new))
        kind, body = peer.read_pdu()
    assert (kind, *body[1:]) == (3, *rejection)


def test_abort_of_the_peer_leaves_nothing_half_written(peer: RawAssociation, receiver: Receiver) -> None:
    peer.socket.sendall(c_store(1)[:-400])
    peer.socket.sendall(b"")
    assert still_serves(receiver)
    peer.socket.close()
    assert still_serves(receiver)
    assert wait_until(lambda: threads_of_associations() == 0, 5.0)
    assert kept(receiver.spool) == [encoded_slice(900)]
    assert unfinished_bytes(receiver.folder) == 0


N_ACTION = {
    0x0003: STORAGE_COMMITMENT.encode(),
    0x0100: struct.pack("<H", 0x0130),
    0x0110: struct.pack("<H", 9),
    0x0800: struct.pack("<H", 0),
    0x1001: b"1.2.840.10008.1.20.1.1",
    0x1008: struct.pack("<H", 1),
}


def test_commitment_is_asked_and_answered_where_there_is_one(start_receiver: Callable[..., Receiver]) -> None:
    asked: list[CommitmentRequest] = []

    def commitment(request: CommitmentRequest) -> int:
        asked.append(request)
        return 0x0115

    receiver = start_receiver(parts={"commitment": commitment})
    with RawAssociation(receiver.port, timeout_s=10) as peer:
        assert peer.associate([(STORAGE_COMMITMENT, EXPLICIT)], called_ae=OUR_AE, calling_ae="CT1") == 2
        peer.socket.sendall(p_data(1, COMMAND | LAST, command_set(N_ACTION)) + p_data(1, LAST, b"which"))
        kind, body = peer.read_pdu()
        assert kind == P_DATA
        assert struct.pack("<HHIH", 0, 0x0100, 2, 0x8130) in body
        assert struct.pack("<HHIH", 0, 0x0900, 2, 0x0115) in body
        assert struct.pack("<HHIH", 0, 0x1008, 2, 1) in body
        assert b"1.2.840.10008.1.20.1.1" in body
        peer.socket.sendall(p_data(1, COMMAND | LAST, command_set(N_ACTION)))
        peer.socket.sendall(p_data(1, DATA, bytes(200_000)) * 25 + p_data(1, LAST, b""))
        assert peer.read_status() == 0x0213, "more than is kept in memory"
    (request,) = asked
    assert (request.calling_ae, request.action_type, request.encoded) == ("CT1", 1, b"which")
    assert request.sop_instance_uid == "1.2.840.10008.1.20.1.1"


def test_without_commitment_its_context_is_not_accepted(receiver: Receiver) -> None:
    with RawAssociation(receiver.port, timeout_s=10) as peer:
        assert peer.associate([(STORAGE_COMMITMENT, EXPLICIT)], called_ae=OUR_AE) == 2
        peer.socket.sendall(p_data(1, COMMAND | LAST, command_set(N_ACTION)))
        assert aborted(peer) == (PROVIDER, INVALID_PARAMETER)
