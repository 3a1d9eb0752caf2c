"""A hundred peers that stall, of every kind: a good one stores within a second; afterwards everything is given back.

The stalled ones come from the same address under the same AE title, as far as they get that far: no place is kept for
the good one by name.
"""

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.raw_sender import COMMAND, LAST, RawAssociation, associate_rq, c_store_rq, command_set, p_data
from dicom_node.association.contexts import VERIFICATION
from dicom_node.settings import ScpTlsSettings
from dicom_node.spool.segments import IDLE_DESCRIPTORS, SUFFIX
from dicom_node.tls import server_context
from tests.certificates import Authority
from tests.dimse.conftest import OUR_AE, Receiver, encoded_slice, kept, slice_uid
from tests.spool_contents import unfinished_bytes

PEERS = 100
WITHIN_S = 1.0
IMPATIENCE = {"association_timeout_s": 1.5, "network_timeout_s": 1.5, "transfer_timeout_s": 1.5}
"""So that the test does not take a minute; the built-in values are 15, 60 and 30 seconds."""
GONE_WITHIN_S = 8.0
MEMORY_LEFT_MB = 30
"""What Python may keep of the memory of a hundred threads."""

Stall = Callable[[RawAssociation], None]
ECHO = p_data(1, COMMAND | LAST, command_set({0x0100: b"\x30\0", 0x0110: b"\1\0", 0x0800: b"\1\1"}))
STORE = p_data(1, COMMAND | LAST, c_store_rq("1.2.3"))


def established(then: Stall) -> Stall:
    def stall(peer: RawAssociation) -> None:
        assert peer.associate(called_ae=OUR_AE) == 2
        then(peer)

    return stall


def pipeline_unread(peer: RawAssociation) -> None:
    """Send requests and read no answers, until the network takes no more."""
    assert peer.associate([(VERIFICATION, "1.2.840.10008.1.2")], called_ae=OUR_AE) == 2
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.socket.settimeout(0.005)
    with contextlib.suppress(TimeoutError):
        while True:
            peer.socket.sendall(ECHO * 100)


KINDS: dict[str, Stall] = {
    "silent": lambda _peer: None,
    "half a head": lambda peer: peer.socket.sendall(b"\x01\x00\x00"),
    "half a request": lambda peer: peer.socket.sendall(associate_rq([], called_ae=OUR_AE, calling_ae="RAW")[:60]),
    "a request of four gigabytes": lambda peer: peer.socket.sendall(b"\x01\x00\xff\xff\xff\xff" + bytes(4096)),
    "idle": established(lambda _peer: None),
    "half a PDU head": established(lambda peer: peer.socket.sendall(b"\x04\x00\x00")),
    "inside a PDU": established(lambda peer: peer.socket.sendall(STORE + p_data(1, 0, bytes(5000))[:3000])),
    "between the PDUs of a message": established(lambda peer: peer.socket.sendall(STORE + p_data(1, 0, bytes(5000)))),
    "unread pipelining": pipeline_unread,
}


def descriptors() -> int:
    """Open ones, but those of segments."""
    return len(_open_files()) - open_segments()


def open_segments(folder: Path = Path("/")) -> int:
    """Below ``folder``: other tests of this process may have left some."""
    ours = [name for name in _open_files() if Path(name).is_relative_to(folder)]
    return sum(name.endswith(SUFFIX) or name.endswith(f"{SUFFIX} (deleted)") for name in ours)


def _open_files() -> list[str]:
    names = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the folder itself, by now
            names.append(str(descriptor.readlink()))
    return names


def memory_mb() -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def threads_of_associations() -> int:
    return sum(thread.name == "association" for thread in threading.enumerate())


def store_one(port: int, number: int) -> float:
    """Associate, store, release; how long that took."""
    started = time.monotonic()
    with RawAssociation(port, timeout_s=10) as good:
        assert good.associate(called_ae=OUR_AE, calling_ae="RAW") == 2
        command = c_store_rq(slice_uid(number))
        good.socket.sendall(p_data(1, COMMAND | LAST, command) + p_data(1, LAST, encoded_slice(number)))
        assert good.read_status() == 0
        elapsed = time.monotonic() - started
        assert good.release() == 6
    return elapsed


def wait_until(satisfied: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not (answer := satisfied()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_peer_stores_beside_a_hundred_stalled_ones(start_receiver: Callable[..., Receiver], kind: str) -> None:
    patience = 2.0 if kind == "unread pipelining" else 1.0  # which takes seconds to set up
    receiver = start_receiver(**{name: patience * value for name, value in IMPATIENCE.items()})
    store_one(receiver.port, 1)
    before = descriptors(), memory_mb()
    stalled: list[RawAssociation] = []
    try:
        for _ in range(PEERS):
            stalled.append(RawAssociation(receiver.port, timeout_s=10))
            KINDS[kind](stalled[-1])
        assert store_one(receiver.port, 2) < WITHIN_S
        assert wait_until(lambda: threads_of_associations() == 0, GONE_WITHIN_S), "stalled peers are evicted"
        assert store_one(receiver.port, 3) < WITHIN_S
    finally:
        for peer in stalled:
            peer.socket.close()
    assert wait_until(lambda: descriptors() <= before[0], 2.0)
    assert memory_mb() - before[1] < MEMORY_LEFT_MB
    assert open_segments(receiver.folder) <= IDLE_DESCRIPTORS
    assert sorted(kept(receiver.spool)) == sorted(encoded_slice(number) for number in (1, 2, 3))
    assert unfinished_bytes(receiver.folder) == 0
    files = list(receiver.folder.glob(f"*{SUFFIX}"))
    assert len(files) <= IDLE_DESCRIPTORS + 3, "those of the stalled ones that held nothing are gone"


@pytest.mark.parametrize("stage", ["request", "data", "PDUs"])
def test_a_byte_now_and_then_keeps_nobody_alive(start_receiver: Callable[..., Receiver], stage: str) -> None:
    receiver = start_receiver(**IMPATIENCE)
    start, bit = {
        "request": (b"\x01\x00\x00\x00\x40\x00", b"\0"),
        "data": (STORE + p_data(1, 0, bytes(9000))[:20], b"\0"),
        "PDUs": (STORE, p_data(1, 0, b"\0\0")),
    }[stage]
    trickling = [RawAssociation(receiver.port, timeout_s=10) for _ in range(PEERS)]
    try:
        for peer in trickling:
            if stage != "request":
                assert peer.associate(called_ae=OUR_AE) == 2
            peer.socket.sendall(start)
        assert store_one(receiver.port, 1) < WITHIN_S

        def trickle() -> bool:
            for peer in trickling:
                try:
                    peer.socket.send(bit)
                except OSError:
                    continue
            return threads_of_associations() == 0

        assert wait_until(trickle, GONE_WITHIN_S)
    finally:
        for peer in trickling:
            peer.socket.close()


def test_peers_that_never_say_hello_in_tls(start_receiver: Callable[..., Receiver], tmp_path: Path) -> None:
    authority = Authority.made(tmp_path / "ca")
    pair = authority.peer("node")
    tls = server_context(ScpTlsSettings(certificate=pair.certificate, key=pair.key))
    receiver = start_receiver(parts={"tls": lambda: tls}, **IMPATIENCE)
    client = ssl.create_default_context(cafile=authority.ca)
    stalled = [RawAssociation(receiver.port, timeout_s=10) for _ in range(PEERS)]
    try:
        for peer in stalled[: PEERS // 2]:
            peer.socket.sendall(b"\x16\x03\x01\x02\x00\x01\x00")  # the begin of a hello
        started = time.monotonic()
        with RawAssociation(receiver.port, timeout_s=10) as good:
            good.socket = client.wrap_socket(good.socket, server_hostname="127.0.0.1")
            assert good.associate(called_ae=OUR_AE) == 2
            good.socket.sendall(p_data(1, COMMAND | LAST, c_store_rq(slice_uid(1))) + p_data(1, LAST, encoded_slice(1)))
            assert good.read_status() == 0
            assert time.monotonic() - started < WITHIN_S
        assert wait_until(lambda: threads_of_associations() == 0, GONE_WITHIN_S)
    finally:
        for peer in stalled:
            peer.socket.close()


def test_a_stopped_node_leaves_no_thread(start_receiver: Callable[..., Receiver]) -> None:
    receiver = start_receiver()
    peers = [RawAssociation(receiver.port, timeout_s=10) for _ in range(20)]
    for peer in peers[:10]:
        assert peer.associate(called_ae=OUR_AE) == 2
    time.sleep(0.1)  # until the last one's thread has returned from sending, and reads
    receiver.scp.stop()
    assert threads_of_associations() == 0
    assert [peer.read_pdu()[0] for peer in peers] == [7] * 10 + [0] * 10, "A-ABORT where there was an association"
    for peer in peers:
        peer.socket.close()


def test_idle_associations_cost_no_processor_time(start_receiver: Callable[..., Receiver]) -> None:
    receiver = start_receiver()
    peers = [RawAssociation(receiver.port, timeout_s=10) for _ in range(64)]
    for peer in peers:
        assert peer.associate(called_ae=OUR_AE) == 2
    time.sleep(0.2)
    started = time.process_time()
    time.sleep(2.0)
    assert (time.process_time() - started) / 2.0 < 0.02
    for peer in peers:
        peer.socket.close()


def test_places_are_counted_and_given_back(start_receiver: Callable[..., Receiver]) -> None:
    receiver = start_receiver(maximum_associations=4, maximum_associations_per_peer=2)
    opened = [RawAssociation(receiver.port, timeout_s=10) for _ in range(4)]
    answers = [peer.associate(called_ae=OUR_AE, calling_ae=ae) for peer, ae in zip(opened, "AAAB", strict=True)]
    assert answers == [2, 2, 3, 2], "the third of A is rejected, B is not"
    for peer in opened:
        peer.socket.close()
    assert wait_until(lambda: threads_of_associations() == 0, 3.0)
    assert store_one(receiver.port, 1) < WITHIN_S
