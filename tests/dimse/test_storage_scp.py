"""The Storage SCP with real associations: what is kept, what is refused and how, and what survives a kill -9."""

import errno
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom.association import Association
from pynetdicom.dsutils import encode, split_dataset
from xxhash import xxh3_128_hexdigest

from benchmarks.raw_sender import COMMAND, LAST, RawAssociation, associate_rq, c_store_rq, p_data
from dicom_node.association import server
from dicom_node.association.recovery import index_unlisted
from dicom_node.association.requests import AssociationEvent, EventKind
from dicom_node.association.transfer import MAXIMUM_PIECES
from dicom_node.index import Index, open_database
from dicom_node.spool import SegmentSpool
from dicom_node.spool.segments import SUFFIX
from tests.dimse.conftest import OUR_AE, Receiver, Sender, encoded_slice, kept, slice_uid
from tests.spool_contents import unfinished_bytes
from tests.synthetic_ct import SERIES_UID, ct_slice

Connect = Callable[..., Association]
REJECTED_PERMANENTLY_BY_USER = (1, 1)
CALLING_AE_NOT_RECOGNISED, CALLED_AE_NOT_RECOGNISED = 3, 7


def wait_until(satisfied: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    # Never asked again after a yes: what is asked may take a slot itself.
    deadline = time.monotonic() + timeout_s
    while not (answer := satisfied()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


@pytest.mark.real_data
def test_every_transfer_syntax_is_kept_byte_for_byte(receiver: Receiver, connect: Connect, shared_data: Path) -> None:
    paths = sorted((shared_data / "dicom_transfer_syntaxes").glob("*.dcm"))
    metas = {path: split_dataset(path) for path in paths}
    sent: dict[str, bytes] = {}
    sender = Sender(
        connect(receiver.port, *{(m.MediaStorageSOPClassUID, m.TransferSyntaxUID) for m, _ in metas.values()})
    )
    for path, (meta, offset) in metas.items():
        uid = str(meta.MediaStorageSOPInstanceUID)
        encoded = path.read_bytes()[offset:]
        answer = sender.store(
            encoded, instance_uid=uid, class_uid=meta.MediaStorageSOPClassUID, syntax=meta.TransferSyntaxUID
        )
        # Several files hold one instance in several encodings: the first is kept, others have other content.
        first = uid not in sent or sent[uid] == encoded
        assert (answer.status == 0) == first, (path.name, answer)
        sent.setdefault(uid, encoded)
        receiver.intake.flush()
        held = receiver.index.find_instance(uid)
        assert held is not None
        assert held.digest == xxh3_128_hexdigest(sent[uid])
    assert sorted(kept(receiver.spool)) == sorted(sent.values())


@pytest.mark.real_data
def test_each_transfer_syntax_alone_is_accepted(
    start_receiver: Callable[..., Receiver], connect: Connect, shared_data: Path
) -> None:
    receiver = start_receiver()
    for path in sorted((shared_data / "dicom_transfer_syntaxes").glob("*.dcm")):
        meta, _ = split_dataset(path)
        association = connect(receiver.port, (meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID))
        assert association.is_established, path.name
        association.release()


@pytest.mark.real_data
def test_dcmtk_sends_jpeg_lossless(receiver: Receiver, shared_data: Path) -> None:
    path = next((shared_data / "dicom_transfer_syntaxes").glob("JPEGProcess14SV1*"))
    subprocess.run(
        ["storescu", "-xs", "-aec", OUR_AE, "127.0.0.1", str(receiver.port), str(path)], check=True, timeout=30
    )
    _, offset = split_dataset(path)
    assert len(kept(receiver.spool)[0]) == len(path.read_bytes()) - offset


def test_dcmtk_echoes(receiver: Receiver) -> None:
    subprocess.run(["echoscu", "-aec", OUR_AE, "127.0.0.1", str(receiver.port)], check=True, timeout=30)


@pytest.mark.parametrize(
    ("peers", "called_ae", "calling_ae", "reason"),
    [
        ([], "SOMEONE", "MODALITY", CALLED_AE_NOT_RECOGNISED),
        ([{"ae_title": "CT1"}], OUR_AE, "MODALITY", CALLING_AE_NOT_RECOGNISED),
        ([{"ae_title": "CT1", "address": "192.0.2.1"}], OUR_AE, "CT1", CALLING_AE_NOT_RECOGNISED),
        ([{"ae_title": "CT1", "address": "127.0.0.1"}], OUR_AE, "CT1", None),
    ],
)
def test_who_may_associate(
    start_receiver: Callable[..., Receiver],
    peers: list[dict[str, str]],
    called_ae: str,
    calling_ae: str,
    reason: int | None,
) -> None:
    receiver = start_receiver(peers=peers)
    with RawAssociation(receiver.port) as peer:
        contexts = [(CTImageStorage, ExplicitVRLittleEndian)]
        peer.socket.sendall(associate_rq(contexts, called_ae=called_ae, calling_ae=calling_ae))
        kind, body = peer.read_pdu()
    if reason is None:
        assert kind == 2
    else:
        assert (kind, tuple(body)) == (3, (0, *REJECTED_PERMANENTLY_BY_USER, reason))


def test_unknown_sop_class_gets_no_context(receiver: Receiver, connect: Connect) -> None:
    association = connect(
        receiver.port, ("1.2.840.10008.5.1.4.34.7", ExplicitVRLittleEndian), (CTImageStorage, ExplicitVRLittleEndian)
    )
    assert [context.abstract_syntax for context in association.accepted_contexts] == [CTImageStorage]


def test_identical_repeat_is_accepted_once(receiver: Receiver, connect: Connect) -> None:
    sender = Sender(connect(receiver.port))
    for _ in range(2):
        assert sender.store(encoded_slice(1), instance_uid=slice_uid(1)).status == 0
    assert kept(receiver.spool) == [encoded_slice(1)]


def test_other_content_under_a_taken_uid_is_refused_and_the_first_kept(receiver: Receiver, connect: Connect) -> None:
    sender = Sender(connect(receiver.port))
    assert sender.store(encoded_slice(1), instance_uid=slice_uid(1)).status == 0
    answer = sender.store(encoded_slice(1, SeriesDescription="changed"), instance_uid=slice_uid(1))
    assert answer.status is not None
    assert 0xC000 <= answer.status <= 0xCFFF
    assert "other content" in answer.comment
    assert kept(receiver.spool) == [encoded_slice(1)]
    assert sender.store(encoded_slice(2), instance_uid=slice_uid(2)).status == 0, "the association goes on"


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # the sender warns of what it is made to send
@pytest.mark.parametrize(
    ("encoded", "command", "status"),
    [
        (encoded_slice(1), {"instance_uid": slice_uid(2)}, 0xA900),
        (encoded_slice(1), {"instance_uid": slice_uid(1), "class_uid": EnhancedCTImageStorage}, 0xA900),
        (
            encoded_slice(1, SOPClassUID=SecondaryCaptureImageStorage),
            {
                "instance_uid": slice_uid(1),
                "class_uid": SecondaryCaptureImageStorage,
                "context_class_uid": CTImageStorage,
            },
            0xA900,
        ),
        (encoded_slice(1), {"instance_uid": "../../etc/passwd"}, 0x0117),
        (encoded_slice(1, SeriesInstanceUID=""), {"instance_uid": slice_uid(1)}, 0xC000),
        (encoded_slice(1)[:-7], {"instance_uid": slice_uid(1)}, 0xC000),
        (b"\xff" * 999, {"instance_uid": slice_uid(1)}, 0xC000),
    ],
    ids=["other-instance", "other-class", "other-context", "path-as-uid", "no-series", "cut-off", "noise"],
)
def test_bad_instances_get_their_status_and_harm_nobody(
    receiver: Receiver, connect: Connect, encoded: bytes, command: dict[str, str], status: int
) -> None:
    contexts = [(uid, ExplicitVRLittleEndian) for uid in (CTImageStorage, EnhancedCTImageStorage)]
    answer = Sender(connect(receiver.port, *contexts)).store(encoded, **command)
    assert answer.status == status, answer
    assert kept(receiver.spool) == []
    assert Sender(connect(receiver.port)).store(encoded_slice(3), instance_uid=slice_uid(3)).status == 0


def test_full_disk_is_answered_with_out_of_resources(start_receiver: Callable[..., Receiver], connect: Connect) -> None:
    receiver = start_receiver(minimum_free_bytes=1 << 60)
    answer = Sender(connect(receiver.port)).store(encoded_slice(1), instance_uid=slice_uid(1))
    assert answer.status == 0xA700
    assert kept(receiver.spool) == []


@pytest.mark.parametrize("end", ["release", "abort"])
def test_series_is_open_while_its_association_is(receiver: Receiver, connect: Connect, end: str) -> None:
    association = connect(receiver.port)
    assert receiver.scp.open_series() == frozenset()
    Sender(association).store(encoded_slice(1), instance_uid=slice_uid(1))
    assert receiver.scp.open_series() == {SERIES_UID}
    getattr(association, end)()
    assert wait_until(lambda: receiver.scp.open_series() == frozenset())


def test_the_same_instances_from_several_associations_at_once(receiver: Receiver, connect: Connect) -> None:
    senders = [Sender(connect(receiver.port)) for _ in range(4)]
    answers: list[int | None] = []

    def send_all(sender: Sender) -> None:
        answers.extend(sender.store(encoded_slice(n), instance_uid=slice_uid(n)).status for n in range(10))

    threads = [threading.Thread(target=send_all, args=(sender,)) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [0] * 40
    assert sorted(kept(receiver.spool)) == sorted(encoded_slice(n) for n in range(10))


@pytest.mark.parametrize(
    "start_of_pdu",
    [b"", b"\x01\x00", b"\x01\x00\x00\x00\x01\x00" + bytes(10), b"\x01\x00\xff\xff\xff\xff" + bytes(4096)],
    ids=["silence", "half-a-head", "half-a-request", "four-gigabytes-announced"],
)
def test_stalled_connections_are_evicted_and_leave_room(
    start_receiver: Callable[..., Receiver], connect: Connect, start_of_pdu: bytes
) -> None:
    receiver = start_receiver(maximum_associations=3, association_timeout_s=1.0, network_timeout_s=2.0)
    stalled = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(3)]
    for connection in stalled:
        connection.sendall(start_of_pdu)
    try:
        assert wait_until(lambda: connect(receiver.port).is_established, timeout_s=6.0)
    finally:
        for connection in stalled:
            connection.close()


def test_trickling_request_is_evicted_by_a_deadline_that_its_bytes_do_not_move(
    start_receiver: Callable[..., Receiver], connect: Connect
) -> None:
    receiver = start_receiver(maximum_associations=1, association_timeout_s=1.0, network_timeout_s=20.0)
    with socket.create_connection(("127.0.0.1", receiver.port)) as trickling:
        trickling.sendall(b"\x01\x00\x00\x00\x10\x00")

        def trickle() -> bool:
            try:
                trickling.send(b"\0")
            except OSError:
                return True
            time.sleep(0.1)
            return False

        assert wait_until(trickle, timeout_s=5.0)
    assert wait_until(lambda: connect(receiver.port).is_established)


def test_established_association_outlives_the_deadline_of_its_request(
    start_receiver: Callable[..., Receiver], connect: Connect
) -> None:
    receiver = start_receiver(association_timeout_s=0.5)
    sender = Sender(connect(receiver.port))
    time.sleep(1.0)
    assert sender.store(encoded_slice(1), instance_uid=slice_uid(1)).status == 0


RECEIVER_PROGRAM = """
import sys, threading
from pathlib import Path
from dicom_node.association import Intake, StorageScp
from dicom_node.index import Index, open_database
from dicom_node.settings import ScpSettings
from dicom_node.spool import SegmentSpool
folder = Path(sys.argv[1])
intake = Intake(SegmentSpool(folder / "spool"), Index(open_database(folder / "node.sqlite")))
scp = StorageScp(ScpSettings(bind="127.0.0.1", port=0), intake)
scp.start()
sys.stdout.write(f"{scp.port}\\n"); sys.stdout.flush()
threading.Event().wait()
"""


def test_nothing_acknowledged_is_lost_when_the_receiver_is_killed(tmp_path: Path, connect: Connect) -> None:
    acknowledged: set[int] = set()
    for round_number in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", RECEIVER_PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        sender = Sender(connect(int(process.stdout.readline()), (CTImageStorage, ExplicitVRLittleEndian)))
        killer = threading.Timer(0.15 + 0.1 * round_number, process.kill)
        killer.start()
        for number in range(round_number * 300, round_number * 300 + 300):
            if sender.store(encoded_slice(number), instance_uid=slice_uid(number)).status != 0:
                break
            acknowledged.add(number)
        process.wait(timeout=10)
        process.stdout.close()
    spool, index = SegmentSpool(tmp_path / "spool"), Index(open_database(tmp_path / "node.sqlite"))
    index_unlisted(spool, index, alone=True)
    held = kept(spool)
    assert len(held) == len(set(held))
    assert acknowledged
    for number in acknowledged:
        assert encoded_slice(number) in held
        row = index.find_instance(slice_uid(number))
        assert row is not None
        assert row.digest == xxh3_128_hexdigest(encoded_slice(number))
        assert spool.describe(row.file).digest == row.digest
    assert unfinished_bytes(tmp_path / "spool") == 0


def test_implicit_syntax_is_kept_as_it_came(receiver: Receiver, connect: Connect) -> None:
    encoded = encode(ct_slice(1, (0.0, 0.0, 1.0)), True, True)
    assert encoded is not None
    sender = Sender(connect(receiver.port, (CTImageStorage, ImplicitVRLittleEndian)))
    assert sender.store(encoded, instance_uid=slice_uid(1), syntax=ImplicitVRLittleEndian).status == 0
    assert kept(receiver.spool) == [encoded]


def test_the_audit_trail_counts_what_is_durable(
    start_receiver: Callable[..., Receiver], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[AssociationEvent] = []
    receiver = start_receiver(parts={"audit": told.append})

    def fdatasync(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    association = connect(receiver.port)
    with monkeypatch.context() as sick:
        sick.setattr(os, "fdatasync", fdatasync)
        assert Sender(association).store(encoded_slice(1), instance_uid=slice_uid(1)).status == 0x0110
    association.release()
    assert wait_until(lambda: told[-1].kind is EventKind.ENDED)
    assert (told[-1].instances, told[-1].studies) == (0, {})
    assert kept(receiver.spool) == []


@pytest.mark.parametrize("disorder", ["taken away", "cannot be cut off"])
def test_a_place_is_given_back_although_the_disk_is_in_disorder(
    start_receiver: Callable[..., Receiver], connect: Connect, monkeypatch: pytest.MonkeyPatch, disorder: str
) -> None:
    receiver = start_receiver(maximum_associations=1)
    association = connect(receiver.port)
    assert Sender(association).store(encoded_slice(2), instance_uid=slice_uid(2)).status == 0
    association.release()
    (segment,) = receiver.folder.glob(f"*{SUFFIX}")
    size = segment.stat().st_size

    def ftruncate(_descriptor: int, _length: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as sick:
        assert wait_until(lambda: receiver.scp.open_series() == frozenset())
        with RawAssociation(receiver.port, timeout_s=10) as peer:
            assert peer.associate(called_ae=OUR_AE) == 2
            peer.socket.sendall(p_data(1, COMMAND | LAST, c_store_rq(slice_uid(1))))
            peer.socket.sendall(p_data(1, 0, bytes(5000)) * MAXIMUM_PIECES)
            assert wait_until(lambda: segment.stat().st_size > size)
            if disorder == "taken away":
                segment.unlink()
            else:
                sick.setattr(os, "ftruncate", ftruncate)
        tried: list[Association] = []

        def has_a_place() -> bool:
            tried.append(connect(receiver.port))
            return tried[-1].is_established

        assert wait_until(has_a_place)
    sender = Sender(tried[-1])
    if disorder == "taken away":
        assert sender.store(encoded_slice(3), instance_uid=slice_uid(3)).status == 0x0110, "no success for what is gone"
    assert sender.store(encoded_slice(3), instance_uid=slice_uid(3)).status == 0
    expected = [encoded_slice(3)] if disorder == "taken away" else [encoded_slice(2), encoded_slice(3)]
    assert sorted(kept(receiver.spool)) == sorted(expected)


def test_a_connection_that_cannot_be_served_is_not_the_last_one(
    receiver: Receiver, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_args: object, **_more: object) -> None:
        raise MemoryError

    with monkeypatch.context() as poor:
        poor.setattr(server, "Association", out_of_memory)
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=5) as refused:
            assert refused.recv(1) == b""
    assert connect(receiver.port).is_established


def test_as_many_descriptors_as_the_system_allows(start_receiver: Callable[..., Receiver]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard))
    try:
        start_receiver()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
