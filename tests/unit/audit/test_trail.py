"""The trail: nobody waits for it, nothing is lost silently, files stay within bounds, a repository gets it over TLS."""

import json
import os
import re
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import structlog

from dicom_node.audit import AuditEvent, AuditFiles, AuditTrail, Node, Syslog, events, trail
from dicom_node.audit import refusals as refusals_module
from dicom_node.audit import syslog as syslog_module
from dicom_node.audit.refusals import MOST_ADDRESSES, WINDOW_S, Refusals
from dicom_node.errors import PeerUnavailable
from dicom_node.settings import SyslogSettings
from tests.certificates import Authority
from tests.unit.audit.audit_schema import valid_message


def refused(address: str, reason: str = "calling AE title is no known peer") -> AuditEvent:
    return events.node_refused(peer=Node(ae_title="X", address=address), ae_title="N", reason=reason)


def received(number: int) -> AuditEvent:
    sender = Node(ae_title="CT1", address="10.0.0.1")
    return events.received(sender=sender, ae_title="N", study_uid=f"1.2.{number}", instances={}, failure="")


def wait_until(satisfied: Callable[[], bool], timeout_s: float = 15.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not satisfied() and time.monotonic() < deadline:
        time.sleep(0.02)
    return satisfied()


def lines(folder: Path) -> list[bytes]:
    path = folder / "audit.log"
    return path.read_bytes().splitlines() if path.exists() else []


def event_ids(messages: Sequence[bytes]) -> list[str]:
    return [valid_message(one).find("EventIdentification/EventID").get("csd-code") for one in messages]


def test_files_hold_every_event_between_start_and_stop_for_the_owner_alone(tmp_path: Path) -> None:
    audit = AuditTrail([AuditFiles(tmp_path / "audit", file_mb=1, files=2)], ae_title="DICOMNODE")
    audit.start()
    senders = [threading.Thread(target=lambda: [audit.record(received(n)) for n in range(100)]) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    audit.stop()
    written = lines(tmp_path / "audit")
    assert event_ids(written) == ["110100", *["110104"] * 400, "110100"]
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "audit" / "audit.log").stat().st_mode) == 0o600


def test_trail_of_a_command_tells_of_no_start_and_stop(tmp_path: Path) -> None:
    audit = AuditTrail([AuditFiles(tmp_path, file_mb=1, files=2)], ae_title="N", of_command=True)
    audit.start()
    audit.record(received(1))
    audit.stop()
    assert event_ids(lines(tmp_path)) == ["110104"]


class Stuck:
    """A sink that fails, or waits, until it is told otherwise."""

    name = "stuck"
    batch = 5
    lost = 0

    def __init__(self) -> None:
        self.well = threading.Event()
        self.written: list[bytes] = []
        self.tries = 0

    def write(self, messages: Sequence[bytes]) -> None:
        self.tries += 1
        if not self.well.is_set():
            raise OSError(28, "No space left on device")
        self.written.extend(messages)

    def close(self) -> None:
        pass


def test_failing_sink_holds_nobody_up_and_its_losses_are_counted_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "CAPACITY", 50)
    monkeypatch.setattr(trail, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(trail, "LONGEST_PAUSE_S", 0.05)
    sink = Stuck()
    with structlog.testing.capture_logs() as logged:
        audit = AuditTrail([sink], ae_title="N")
        audit.start()
        assert wait_until(lambda: sink.tries > 1)
        started = time.monotonic()
        for number in range(1000):
            audit.record(received(number))
        assert time.monotonic() - started < 0.5
        sink.well.set()
        assert wait_until(lambda: any(b"110133" in one for one in sink.written))
        audit.stop()
    told = valid_message(next(one for one in sink.written if b"110133" in one))
    lost = int(re.match(r"\d+", told[0].findtext("EventOutcomeDescription"))[0])
    kept = [one for one in sink.written if b"110104" in one]
    assert len(kept) + lost == 1000
    assert 40 <= len(kept) <= 60
    names = [entry["event"] for entry in logged]
    assert names.count("audit_not_written") == 1
    assert [entry["count"] for entry in logged if entry["event"] == "audit_messages_lost"] == [lost]


def test_stop_does_not_wait_for_a_sink_that_never_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "LAST_WORDS_S", 0.5)
    with structlog.testing.capture_logs() as logged:
        audit = AuditTrail([Stuck()], ae_title="N")
        audit.start()
        for number in range(20):
            audit.record(received(number))
        started = time.monotonic()
        audit.stop()
        assert time.monotonic() - started < 2
    assert [entry["count"] for entry in logged if entry["event"] == "audit_messages_lost"] == [22]


class Breaking(Stuck):
    """A sink that raises once what no sink should."""

    def write(self, messages: Sequence[bytes]) -> None:
        self.tries += 1
        if self.tries == 1:
            raise RuntimeError
        self.written.extend(messages)


def test_fault_in_a_sink_does_not_end_the_trail() -> None:
    sink = Breaking()
    with structlog.testing.capture_logs() as logged:
        audit = AuditTrail([sink], ae_title="N")
        audit.start()
        assert wait_until(lambda: sink.tries == 1)
        audit.record(received(1))
        audit.stop()
    assert [entry["event"] for entry in logged] == ["audit_batch_failed", "audit_messages_lost"]
    assert sorted(event_ids(sink.written)) == ["110100", "110104", "110113"]


def test_address_that_knocks_again_and_again_is_told_once_a_minute() -> None:
    now = [0.0]
    refusals = Refusals(clock=lambda: now[0])
    assert len(refusals.note(refused("10.0.0.1"))) == 1
    assert [len(refusals.note(refused("10.0.0.1"))) for _ in range(99)] == [0] * 99
    assert len(refusals.note(refused("10.0.0.2"))) == 1
    now[0] = WINDOW_S
    (summary,) = refusals.due()
    assert summary.alert_subject == "10.0.0.1"
    assert summary.description.endswith("(99 times since the alert before)")
    assert len(refusals.note(refused("10.0.0.1"))) == 1
    refusals.note(refused("10.0.0.1"))
    (rest,) = refusals.rest()
    assert rest.description.endswith("(1 times since the alert before)")


def test_a_summary_does_not_wait_for_the_next_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals_module, "WINDOW_S", 0.5)
    audit = AuditTrail([AuditFiles(tmp_path, file_mb=1, files=2)], ae_title="N", of_command=True)
    audit.start()
    for _ in range(3):
        audit.record(refused("10.0.0.9"))
    try:
        assert wait_until(lambda: b"(2 times since the alert before)" in b"".join(lines(tmp_path)))
    finally:
        audit.stop()
    assert len(lines(tmp_path)) == 2


def test_scanner_with_many_addresses_fills_no_memory() -> None:
    refusals = Refusals(clock=lambda: 0.0)
    refusals.note(refused("first"))
    refusals.note(refused("first"))
    told = [event for number in range(MOST_ADDRESSES) for event in refusals.note(refused(str(number)))]
    assert len(told) == MOST_ADDRESSES + 1
    assert len(refusals._told) == MOST_ADDRESSES


class Repository:
    """A syslog receiver over TLS that cuts RFC 5425 frames; it asks for a certificate."""

    def __init__(self, authority: Authority, port: int = 0) -> None:
        pair = authority.peer("repository")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair.certificate, pair.key)
        self._context.load_verify_locations(authority.ca)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listening.getsockname()[1])
        self.frames: list[bytes] = []
        self._open: list[ssl.SSLSocket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with suppress(OSError):
                    secure = self._context.wrap_socket(connection, server_side=True)
                    self._open.append(secure)
                    self._threads.append(threading.Thread(target=self._read, args=(secure,)))
                    self._threads[-1].start()

    def _read(self, secure: ssl.SSLSocket) -> None:
        received = b""
        with suppress(OSError), secure:
            while data := secure.recv(65536):
                received += data
                while match := re.match(rb"(\d+) ", received):
                    end = match.end() + int(match[1])
                    if len(received) < end:
                        break
                    self.frames.append(received[match.end() : end])
                    received = received[end:]

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for secure in self._open:
            with suppress(OSError):
                socket.socket.shutdown(secure, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


@contextmanager
def repository(authority: Authority, port: int = 0) -> Iterator[Repository]:
    running = Repository(authority, port)
    try:
        yield running
    finally:
        running.close()


def syslog(authority: Authority, port: int) -> Syslog:
    node = authority.peer("node")
    tls = {"ca": authority.ca, "certificate": node.certificate, "key": node.key}
    return Syslog(SyslogSettings.model_validate({"host": "localhost", "port": port, "tls": tls}))


def test_repository_gets_rfc_5424_messages_in_rfc_5425_frames(authority: Authority) -> None:
    with repository(authority) as running:
        audit = AuditTrail([syslog(authority, running.port)], ae_title="DICOMNODE")
        audit.start()
        audit.record(refused("10.0.0.1", "Ümläut"))
        audit.stop()
        assert wait_until(lambda: len(running.frames) == 3)
    for frame in running.frames:
        head, _, message = frame.partition("\ufeff".encode())
        priority, at, *rest = head.decode().split(" ")
        assert priority == "<85>1"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", at)
        assert rest == [socket.gethostname(), "dicom-node", str(os.getpid()), "DICOM+RFC3881", "-", ""]
        valid_message(message)
    assert event_ids([frame.partition("\ufeff".encode())[2] for frame in running.frames]) == [
        "110100",
        "110113",
        "110100",
    ]


def unwelcome(authority: Authority, tmp_path: Path, port: int) -> Syslog:
    """Shows a certificate that the repository's authority has not signed."""
    stranger = Authority.made(tmp_path / "elsewhere", "Other CA").peer("node")
    tls = {"ca": authority.ca, "certificate": stranger.certificate, "key": stranger.key}
    return Syslog(SyslogSettings.model_validate({"host": "localhost", "port": port, "tls": tls}))


def test_repository_that_refuses_our_certificate_is_told_before_anything_is_sent(
    authority: Authority, tmp_path: Path
) -> None:
    with repository(authority) as running:
        sink = unwelcome(authority, tmp_path, running.port)
        for _ in range(2):
            with pytest.raises(PeerUnavailable, match="does not trust our certificate"):
                sink.write([b"<a/>"])
    assert sink.lost == 0


class SlowWayBack:
    """Relays one connection; what the far end says after its first flight waits for ``go_on``."""

    def __init__(self, port: int) -> None:
        self.go_on = threading.Event()
        self.arrived = threading.Event()
        self._far = socket.create_connection(("127.0.0.1", port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._relay, daemon=True).start()

    def _relay(self) -> None:
        near, _ = self._listening.accept()
        self._far.sendall(near.recv(65536))
        near.sendall(self._far.recv(65536))
        self._far.sendall(near.recv(65536))
        self.go_on.wait(15)
        near.sendall(self._far.recv(65536))
        self.arrived.set()
        near.recv(65536)

    def close(self) -> None:
        self._listening.close()
        self._far.close()


def test_refusal_that_comes_late_is_told_with_what_it_cost(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog_module, "REFUSAL_S", 0.1)
    with repository(authority) as running:
        way = SlowWayBack(running.port)
        sink = unwelcome(authority, tmp_path, way.port)
        sink.write([b"<a/>"])
        sink.write([b"<b/>"])
        way.go_on.set()
        assert way.arrived.wait(15)
        with pytest.raises(PeerUnavailable, match="does not trust our certificate"):
            sink.write([b"<c/>"])
        way.close()
    assert running.frames == []
    assert sink.lost == 2


def test_name_that_cannot_be_looked_up_is_told() -> None:
    long_in_punycode = "\u00fc" * 60
    with pytest.raises(PeerUnavailable, match="cannot be looked up"):
        Syslog(SyslogSettings(host=long_in_punycode)).write([b"<a/>"])


def test_repository_that_goes_and_comes_back_misses_nothing(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "FIRST_PAUSE_S", 0.05)
    with structlog.testing.capture_logs() as logged:
        with repository(authority) as first:
            audit = AuditTrail([syslog(authority, first.port)], ae_title="N")
            audit.start()
            audit.record(received(1))
            assert wait_until(lambda: len(first.frames) == 2)
        audit.record(received(2))
        audit.record(received(3))
        assert wait_until(lambda: any(entry["event"] == "audit_not_written" for entry in logged))
        with repository(authority, first.port) as second:
            assert wait_until(lambda: len(second.frames) == 2)
            audit.stop()
            assert wait_until(lambda: len(second.frames) == 3)
    assert [re.search(rb'ObjectID="([\d.]+)"', frame)[1] for frame in second.frames[:2]] == [b"1.2.2", b"1.2.3"]
    (entry,) = [entry for entry in logged if entry["event"] == "audit_not_written"]
    assert "cannot be reached (Connection refused)" in entry["reason"]
    json.dumps(entry)
