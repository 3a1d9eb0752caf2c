"""Kill -9 of a receiving process under senders that retry: what was acknowledged is there, once and whole.

As modalities do, senders send again what was not acknowledged. Kills are spread over the objects, not over time, so
that each one hits senders at work. The test suite runs a short version (``tests/dimse/test_durability.py``).
"""

import random
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click
from xxhash import xxh3_128_hexdigest

from benchmarks.raw_sender import ObjectSender, RawAssociation, ct_image, instance_uid
from benchmarks.receiving.our_process import OurProcess
from benchmarks.result import Result
from dicom_node.association.recovery import index_unlisted
from dicom_node.headers import read_instance_facts
from dicom_node.index import Index, open_database
from dicom_node.settings import ScpSettings
from dicom_node.spool import SegmentSpool

OUR_AE = ScpSettings().ae_title
SENDERS = 4
SIZE_PX = 256
OBJECT = ObjectSender(ct_image(size_px=SIZE_PX), maximum_pdu=16 * 1024)
SPREAD_S = 0.05
"""A kill comes at a random moment of such a time: before, within and after every step of an instance."""
RETRY_S = 0.02
ANSWER_S = 10.0
PATIENCE_S = 120.0
"""Without an acknowledgement for so long, something is broken."""
FIRST_ACCEPTANCE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Counts of instances, after the last kill and one more start."""

    kills: int
    acknowledged: int
    lost: int
    """Acknowledged, and not there with the bytes that were sent, or not in the index."""
    doubled: int
    half_written: int
    """There with other bytes than were sent."""
    first_acceptance_s: tuple[float, ...]
    """From the start of each process to the A-ASSOCIATE-AC."""


def measure(*, kills: int, objects: int) -> list[Result]:
    """Print what happened, and return what is held to a goal."""
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        outcome = kill_repeatedly(Path(folder) / "node", kills=kills, objects=objects)
    slowest_s = max(outcome.first_acceptance_s)
    click.echo("| kills | objects | acknowledged | lost | doubled | half-written | slowest first acceptance, s |")
    click.echo("|---|---|---|---|---|---|---|")
    counts = [kills, objects, outcome.acknowledged, outcome.lost, outcome.doubled, outcome.half_written]
    click.echo(f"| {' | '.join(map(str, counts))} | {slowest_s:.1f} |")
    detail = f"{kills} kills, {outcome.acknowledged} of {objects} acknowledged"
    return [
        Result(
            name="kill -9: instances lost, doubled or half-written, or never acknowledged",
            ratio=outcome.lost + outcome.doubled + outcome.half_written + objects - outcome.acknowledged,
            goal=0,
            unit="instances",
            detail=detail,
        ),
        Result(
            name="kill -9: slowest first acceptance", ratio=slowest_s, goal=FIRST_ACCEPTANCE_S, unit="s", detail=detail
        ),
    ]


def kill_repeatedly(folder: Path, *, kills: int, objects: int) -> Outcome:
    """Send ``objects`` into a process on ``folder`` that is killed so many times meanwhile."""
    node = OurProcess(folder)
    random_moment = random.Random(0)
    senders = [_Sender(node.port, range(share, objects, SENDERS)) for share in range(SENDERS)]

    def acknowledged() -> int:
        return sum(len(sender.acknowledged) for sender in senders)

    starts = [_first_acceptance_s(node)]
    for sender in senders:
        sender.start()
    try:
        for kill in range(1, kills + 1):
            deadline = time.monotonic() + PATIENCE_S
            while acknowledged() < objects * kill // (kills + 1) and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(random_moment.uniform(0, SPREAD_S))
            node.end(kill=True)
            starts.append(_first_acceptance_s(node))
        for sender in senders:
            sender.join(timeout=PATIENCE_S)
    finally:
        for sender in senders:
            sender.finished.set()
        node.end(kill=True)
        for sender in senders:
            sender.join()
    kept = _kept(folder, objects)
    return Outcome(
        kills=kills,
        acknowledged=acknowledged(),
        lost=sum(instance_uid(number) not in kept.listed for sender in senders for number in sender.acknowledged),
        doubled=sum(count - 1 for count in kept.copies.values()),
        half_written=kept.half_written,
        first_acceptance_s=tuple(starts),
    )


class _Sender(threading.Thread):
    """Sends its objects until each is acknowledged."""

    def __init__(self, port: int, numbers: range) -> None:
        super().__init__()
        self.acknowledged: set[int] = set()
        self.finished = threading.Event()
        self._port = port
        self._numbers = numbers

    def run(self) -> None:
        while len(self.acknowledged) < len(self._numbers) and not self.finished.is_set():
            try:
                with RawAssociation(self._port, timeout_s=ANSWER_S) as peer:
                    if peer.associate(called_ae=OUR_AE) == 2:
                        self._send(peer)
            except OSError:
                time.sleep(RETRY_S)

    def _send(self, peer: RawAssociation) -> None:
        for number in self._numbers:
            if number not in self.acknowledged:
                peer.socket.sendall(OBJECT.message(number))
                if peer.read_status() != 0:
                    return
                self.acknowledged.add(number)


def _first_acceptance_s(node: OurProcess) -> float:
    started = time.monotonic()
    node.start()
    with RawAssociation(node.port, timeout_s=ANSWER_S) as peer:
        assert peer.associate(called_ae=OUR_AE) == 2
        return time.monotonic() - started


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    copies: Counter[str]
    """How often the spool has each instance, as it was sent."""
    listed: frozenset[str]
    """Those of them that the index knows, as they are."""
    half_written: int


def _kept(folder: Path, objects: int) -> _Kept:
    """What there is after one more start."""
    spool, index = SegmentSpool(folder / "spool"), Index(open_database(folder / "node.sqlite"))
    index_unlisted(spool, index, alone=True)
    sent = {instance_uid(number): number for number in range(objects)}
    copies: Counter[str] = Counter()
    listed = set()
    half_written = 0
    for found in spool.unlisted({}, alone=True):
        stored, facts = found.stored, read_instance_facts(found.stored.file, whole=True)
        uid = facts.sop_instance_uid
        if spool.describe(stored.file).digest != xxh3_128_hexdigest(OBJECT.encoded(sent[uid])):
            half_written += 1
            continue
        copies[uid] += 1
        row = index.find_instance(uid)
        if row is not None and (row.file, row.facts, row.digest) == (stored.file, facts, stored.digest):
            listed.add(uid)
    return _Kept(copies=copies, listed=frozenset(listed), half_written=half_written)
