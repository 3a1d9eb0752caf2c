"""The trail into a real audit record repository: rsyslog over TLS, which reads frames and headers by itself.

What rsyslog writes is what it understood: one line a message, the fields of RFC 5424 apart.
"""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dicom_node.audit import AuditEvent, AuditTrail, Node, Syslog, events
from dicom_node.audit import trail as trail_module
from dicom_node.demonstration.orthanc import free_port
from dicom_node.errors import PeerUnavailable
from dicom_node.settings import SyslogSettings
from tests.certificates import Authority
from tests.unit.audit.audit_schema import valid_message

MESSAGES = 150
PATIENCE_S = 20.0
BOM = "\ufeff"
FIELDS = ("protocol-version", "pri", "timestamp:::date-rfc3339", "hostname", "app-name", "procid", "msgid",
          "structured-data", "msg")  # fmt: skip
CONFIGURATION = """
global(workDirectory="{folder}" maxMessageSize="64k" defaultNetstreamDriver="ossl"
       defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{certificate}"
       defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
template(name="understood" type="string" string="{line}\\n")
template(name="raw" type="string" string="%rawmsg%\\n")
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="keep")
ruleset(name="keep") {{
    action(type="omfile" file="{folder}/understood" template="understood")
    action(type="omfile" file="{folder}/raw" template="raw")
}}
"""


class Rsyslog:
    """The program, with its files in a folder; the port stays the same from start to start."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.port = free_port()
        self._folder = folder
        pair = authority.peer("repository")
        (folder / "rsyslog.conf").write_text(
            CONFIGURATION.format(
                folder=folder, ca=authority.ca, certificate=pair.certificate, key=pair.key, port=self.port,
                line="\\t".join(f"%{name}%" for name in FIELDS),
            )
        )  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it listens."""
        program = shutil.which("rsyslogd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert program is not None, "sh deploy/install-test-packages.sh installs rsyslog"
        command = [program, "-n", "-f", str(self._folder / "rsyslog.conf"), "-i", str(self._folder / "pid")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        assert wait_until(self._listens), (self._folder / "log").read_text()

    def stop(self) -> None:
        """As its service does; what it has taken it writes."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_S)
            self._process = None

    def lines(self, name: str = "understood") -> list[str]:
        """Written so far."""
        path = self._folder / name
        return path.read_text("utf-8").splitlines() if path.exists() else []

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False


@pytest.fixture
def rsyslog(tmp_path: Path, authority: Authority) -> Iterator[Rsyslog]:
    running = Rsyslog(tmp_path, authority)
    running.start()
    yield running
    running.stop()


def wait_until(satisfied: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not satisfied() and time.monotonic() < deadline:
        time.sleep(0.05)
    return satisfied()


def trail_to(repository: Rsyslog, authority: Authority) -> AuditTrail:
    node = authority.peer("node")
    tls = {"ca": authority.ca, "certificate": node.certificate, "key": node.key}
    settings = SyslogSettings.model_validate({"host": "localhost", "port": repository.port, "tls": tls})
    return AuditTrail([Syslog(settings)], ae_title="DICOMNODE")


def received(number: int, *, failure: str = "") -> AuditEvent:
    sender = Node(ae_title="CT1", address="10.0.0.1")
    counts = {f"1.2.840.10008.{kind}": number for kind in range(1, 40)}
    return events.received(
        sender=sender, ae_title="DICOMNODE", study_uid=f"1.2.{number}", instances=counts, failure=failure
    )


def studies(lines: list[str]) -> list[int]:
    """The number of each message about a study, in the order of the file."""
    return [int(found[1]) for line in lines if (found := re.search(r'ParticipantObjectID="1\.2\.(\d+)"', line))]


def test_rsyslog_understands_every_message(rsyslog: Rsyslog, authority: Authority) -> None:
    audit = trail_to(rsyslog, authority)
    audit.start()
    for number in range(MESSAGES):
        audit.record(received(number, failure='Ümläut \u65e5\u672c < & " %n \t'))
    audit.stop()
    assert wait_until(lambda: len(rsyslog.lines()) == MESSAGES + 2)
    assert studies(rsyslog.lines()) == list(range(MESSAGES)), "complete and in order"
    for line, raw in zip(rsyslog.lines(), rsyslog.lines("raw"), strict=True):
        *head, message = line.split("\t", len(FIELDS) - 1)
        at = head.pop(2)
        assert head == ["1", "85", socket.gethostname(), "dicom-node", str(os.getpid()), "DICOM+RFC3881", "-"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(\+00:00|Z)", at)
        assert message.startswith(BOM)
        valid_message(message.removeprefix(BOM).encode())
        assert raw.startswith("<85>1 ")
        assert raw.partition(f" DICOM+RFC3881 - {BOM}")[2] == message.removeprefix(BOM)
    described = valid_message(rsyslog.lines()[1].partition(BOM)[2].encode())[0].findtext("EventOutcomeDescription")
    assert described == 'Ümläut \u65e5\u672c < & " %n ?'


def test_nothing_is_missed_over_a_restart(
    rsyslog: Rsyslog, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_module, "FIRST_PAUSE_S", 0.2)
    audit = trail_to(rsyslog, authority)
    audit.start()
    for number in range(10):
        audit.record(received(number))
    assert wait_until(lambda: len(studies(rsyslog.lines())) == 10)
    rsyslog.stop()
    for number in range(10, 20):
        audit.record(received(number))
    time.sleep(0.5)  # it is tried meanwhile
    rsyslog.start()
    assert wait_until(lambda: len(studies(rsyslog.lines())) == 20)
    rsyslog.stop()
    rsyslog.start()
    for number in range(20, 30):
        audit.record(received(number))
    audit.stop()
    assert wait_until(lambda: len(studies(rsyslog.lines())) == 30)
    assert studies(rsyslog.lines()) == list(range(30)), "once each, and in order"


def test_a_stranger_is_not_taken(rsyslog: Rsyslog, authority: Authority, tmp_path: Path) -> None:
    stranger = Authority.made(tmp_path / "elsewhere", "Other CA").peer("node")
    context = {"ca": authority.ca, "certificate": stranger.certificate, "key": stranger.key}
    sink = Syslog(SyslogSettings.model_validate({"host": "localhost", "port": rsyslog.port, "tls": context}))
    with pytest.raises(PeerUnavailable, match="does not trust our certificate"):
        sink.write([b"<a/>"])
    assert sink.lost == 0
    assert rsyslog.lines() == []
