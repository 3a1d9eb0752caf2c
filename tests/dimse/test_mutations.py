"""Mutated PDUs and data sets, seeded: whatever comes, its sender gets an answer or an end, and nobody else notices.

``MUTATIONS`` in the environment multiplies how many are tried.
"""

import os
import random
import socket
import struct
import time
from collections.abc import Callable

import pytest
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from benchmarks.raw_sender import COMMAND, DATA, LAST, RawAssociation, associate_rq, c_store_rq, p_data
from dicom_node.errors import StoreStatus
from dicom_node.headers import read_instance_facts
from dicom_node.spool.segments import IDLE_DESCRIPTORS
from tests.dimse.conftest import OUR_AE, Receiver, encoded_slice, slice_uid
from tests.dimse.test_stalled_peers import descriptors, memory_mb, open_segments, threads_of_associations, wait_until
from tests.spool_contents import stored_files, unfinished_bytes
from tests.synthetic_ct import enhanced_ct

TIMES = int(os.environ.get("MUTATIONS", "1"))
STREAMS, DATA_SETS = 150 * TIMES, 600 * TIMES
SEED = 20260101
LONGEST_S = 2.0
"""For one mutated data set to be answered."""
MEMORY_LEFT_MB = 60
LENGTHS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0", b"\0\1\0\0")
STATUSES = frozenset(int(status) for status in StoreStatus)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A few changes of the kinds that break parsers: bits, lengths, cuts, repeats, noise."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(changed) or 1)
        match chance.randrange(7):
            case 0:
                changed[at : at + 1] = bytes((chance.randrange(256),))
            case 1:
                changed[at : at + 4] = chance.choice(LENGTHS)
            case 2:
                del changed[at : at + chance.choice((1, 2, 8, 200))]
            case 3:
                changed[at:at] = changed[at : at + chance.choice((1, 8, 60))]
            case 4:
                changed[at:at] = chance.randbytes(chance.choice((1, 4, 30)))
            case 5:
                del changed[at:]
            case _:
                other = chance.randrange(len(changed) or 1)
                changed[at : at + 8] = changed[other : other + 8]
    return bytes(changed)


def stream(number: int) -> bytes:
    """All that a well-behaved peer sends: request, two instances, release."""
    sent = associate_rq([(CTImageStorage, ExplicitVRLittleEndian)], called_ae=OUR_AE, calling_ae="FUZZ")
    for one in (number, number + 1):
        encoded = encoded_slice(one)
        sent += p_data(1, COMMAND | LAST, c_store_rq(slice_uid(one)))
        sent += p_data(1, DATA, encoded[:200]) + p_data(1, LAST, encoded[200:])
    return sent + struct.pack(">BxIxxxx", 5, 4)


def send_and_read(port: int, sent: bytes) -> None:
    """Say it, say nothing more, and wait for the end."""
    with RawAssociation(port, timeout_s=10) as peer:
        try:
            peer.socket.sendall(sent)
            peer.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the node has had enough before it heard all
        while peer.read_pdu()[0]:
            pass


def every_record_is_whole(receiver: Receiver) -> bool:
    receiver.intake.flush()
    files = stored_files(receiver.spool)
    for file in files:
        facts = read_instance_facts(file, whole=True)
        row = receiver.index.find_instance(facts.sop_instance_uid)
        assert row is not None
        assert row.file == file
    assert wait_until(lambda: threads_of_associations() == 0, 5.0)
    assert unfinished_bytes(receiver.folder) == 0
    return bool(files)


def test_mutated_streams_end_and_harm_nobody(start_receiver: Callable[..., Receiver]) -> None:
    receiver = start_receiver(association_timeout_s=2.0, network_timeout_s=2.0, transfer_timeout_s=2.0)
    send_and_read(receiver.port, stream(1))
    before = descriptors(), memory_mb()
    chance = random.Random(SEED)
    for number in range(STREAMS):
        send_and_read(receiver.port, mutated(stream(10 + 2 * (number % 400)), chance))
    send_and_read(receiver.port, stream(3))
    assert wait_until(lambda: threads_of_associations() == 0, 5.0)
    assert {slice_uid(1), slice_uid(2), slice_uid(3), slice_uid(4)} <= {
        read_instance_facts(file).sop_instance_uid for file in stored_files(receiver.spool)
    }
    assert every_record_is_whole(receiver)
    assert wait_until(lambda: descriptors() <= before[0], 2.0)
    assert open_segments(receiver.folder) <= IDLE_DESCRIPTORS
    assert memory_mb() - before[1] < MEMORY_LEFT_MB


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_mutated_data_sets_are_answered(receiver: Receiver, syntax: str) -> None:
    image = enhanced_ct([(0, 0, 0), (0, 0, 2)], rescale_intercepts=[-1024, -1000])
    image.SOPClassUID = CTImageStorage
    implicit, deflated = syntax == ImplicitVRLittleEndian, syntax == DeflatedExplicitVRLittleEndian
    chance = random.Random(SEED)
    before = memory_mb()
    answers = set()
    with RawAssociation(receiver.port, timeout_s=10) as peer:
        assert peer.associate([(CTImageStorage, syntax)], called_ae=OUR_AE) == 2
        for number in range(DATA_SETS // 3):
            image.SOPInstanceUID = f"1.2.3.{number}"
            good = encode(image, implicit, True, deflated)
            assert good is not None
            command = c_store_rq(image.SOPInstanceUID)
            request = p_data(1, COMMAND | LAST, command) + p_data(1, LAST, mutated(good, chance))
            started = time.monotonic()
            peer.socket.sendall(request)
            answers.add(peer.read_status())
            assert time.monotonic() - started < LONGEST_S
        assert peer.release() == 6
    assert answers <= STATUSES
    assert int(StoreStatus.PROCESSING_FAILURE) not in answers, "a fault of ours; its log says more"
    assert {0, int(StoreStatus.CANNOT_UNDERSTAND)} <= answers
    assert memory_mb() - before < MEMORY_LEFT_MB
    assert every_record_is_whole(receiver)
