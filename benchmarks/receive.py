"""What receiving costs, beside dcmtk's storescp, Orthanc and pynetdicom's storescp: MB/s, processor time, latency.

Every server runs as a process of its own and gets the same objects from the same bare-socket client, in turns, so that
a busy machine slows all of them alike. Ours is the whole way of an instance (checks, file, digest, index row) without
what a node does with studies afterwards; "unsynced" leaves out the fsync alone, and is no setting of a node.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import click

from benchmarks.raw_sender import ObjectSender, RawAssociation, Sent, ct_image
from benchmarks.result import Result
from dicom_node.demonstration.orthanc import OrthancServer, free_port

STORESCP, PYNETDICOM = "dcmtk storescp", "pynetdicom storescp"
ORTHANC_SYNCED, ORTHANC = "Orthanc, synced", "Orthanc, unsynced"
DURABLE, UNSYNCED = "ours, durable", "ours, unsynced"
SERVERS = (STORESCP, UNSYNCED, DURABLE, ORTHANC_SYNCED, ORTHANC, PYNETDICOM)
PEER_PDU_BYTES = 131072
"""What storescp takes at most."""
START_S = 20.0
SETTLE_S = 0.5
"""After the last response: what a server still does for the objects counts."""
BYTES_PER_GB = 1e9
OUR_PROGRAM = """
import sys
from pathlib import Path
from dicom_node.association import Intake, StorageScp
from dicom_node.index import Index, open_database
from dicom_node.logs import configure_logging
from dicom_node.settings import ScpSettings
from dicom_node.spool import SegmentSpool
configure_logging("warning")
folder, port, synchronise = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "synced"
intake = Intake(SegmentSpool(folder / "spool", synchronise=synchronise), Index(open_database(folder / "node.sqlite")))
scp = StorageScp(ScpSettings(bind="127.0.0.1", port=port), intake)
scp.start()
sys.stdin.read()
scp.stop()
intake.close()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is sent at once."""

    name: str
    associations: int
    objects: int
    """Of all associations together."""
    size_px: int


LOADS = (
    Load(name="CT 512², 1 association", associations=1, objects=300, size_px=512),
    Load(name="CT 512², 4 associations", associations=4, objects=300, size_px=512),
    Load(name="tiny objects, 1 association", associations=1, objects=2000, size_px=4),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One load into one server."""

    mb_s: float
    objects_s: float
    cpu_s_gb: float
    median_ms: float
    p95_ms: float


def measure(*, repeats: int) -> list[Result]:
    """Print the table and return what is held to a goal."""
    runs: dict[tuple[str, str], list[Run]] = {}
    numbers = count(1)
    for _ in range(repeats):
        for load in LOADS:
            for server in SERVERS:
                runs.setdefault((load.name, server), []).append(_run(server, load, numbers))
    click.echo("| load | server | MB/s | objects/s | CPU s/GB | median ms | p95 ms |\n|---|---|---|---|---|---|---|")
    for (load_name, server), measured in runs.items():
        cells = [
            f"{_median(measured, 'mb_s'):.0f}",
            f"{_median(measured, 'objects_s'):.0f}",
            f"{_median(measured, 'cpu_s_gb'):.2f}",
            f"{_median(measured, 'median_ms'):.2f}",
            f"{_median(measured, 'p95_ms'):.2f}",
        ]
        click.echo(f"| {load_name} | {server} | {' | '.join(cells)} |")
    return _results(runs)


def _results(runs: dict[tuple[str, str], list[Run]]) -> list[Result]:
    """Goals as "at most": how many times as long as the goal's peer we may take."""

    def ratio(load: Load, ours: str, peer: str, of: Callable[[Run], float]) -> float:
        pairs = zip(runs[load.name, peer], runs[load.name, ours], strict=True)
        return statistics.median(of(theirs) / of(own) for theirs, own in pairs)

    one, four, tiny = LOADS
    goals = [
        (one, UNSYNCED, STORESCP, 1 / 1.2),
        (four, UNSYNCED, STORESCP, 1.0),
        (one, DURABLE, ORTHANC_SYNCED, 1 / 3),
        (one, DURABLE, STORESCP, 1 / 0.6),
        (tiny, UNSYNCED, STORESCP, 1.0),
    ]
    results = [
        Result(
            name=f"receiving: time an object, {ours} / {peer}",
            ratio=ratio(load, ours, peer, lambda run: run.objects_s),
            goal=round(goal, 2),
            detail=load.name,
        )
        for load, ours, peer, goal in goals
    ]
    cpu = 1 / ratio(one, UNSYNCED, STORESCP, lambda run: run.cpu_s_gb)
    results.append(Result(name=f"receiving: CPU a GB, {UNSYNCED} / {STORESCP}", ratio=cpu, goal=1.0, detail=one.name))
    return results


def _median(measured: Sequence[Run], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in measured))


def _run(server: str, load: Load, numbers: Iterator[int]) -> Run:
    with tempfile.TemporaryDirectory() as scratch, _serving(server, Path(scratch)) as (port, called_ae, process):
        share = load.objects // load.associations
        opened = [_association(port, called_ae) for _ in range(load.associations)]
        sender = ObjectSender(ct_image(size_px=load.size_px), maximum_pdu=opened[0].maximum_pdu)
        sender.send(opened[0], [next(numbers) for _ in range(5)])  # the first of a connection opens what the others use
        shares = [[next(numbers) for _ in range(share)] for _ in opened]
        sent: list[Sent] = []
        threads = [
            threading.Thread(target=lambda a, n: sent.append(sender.send(a, n)), args=pair)
            for pair in zip(opened, shares, strict=True)
        ]
        used, started = _cpu_s(process), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.perf_counter() - started
        time.sleep(SETTLE_S)
        used = _cpu_s(process) - used
        for association in opened:
            association.release()
            association.socket.close()
    assert len(sent) == load.associations, "an association broke off"
    size = sum(one.size_bytes for one in sent)
    latencies = sorted(latency for one in sent for latency in one.latencies_s)
    return Run(
        mb_s=size / 1e6 / elapsed,
        objects_s=len(latencies) / elapsed,
        cpu_s_gb=used / (size / BYTES_PER_GB),
        median_ms=statistics.median(latencies) * 1e3,
        p95_ms=latencies[int(0.95 * len(latencies))] * 1e3,
    )


@contextmanager
def _serving(server: str, folder: Path) -> Iterator[tuple[int, str, int]]:
    """A server on a fresh folder: its port, its AE title, its process."""
    if server in (ORTHANC, ORTHANC_SYNCED):
        settings = {"SyncStorageArea": server == ORTHANC_SYNCED, "DicomThreadsCount": 4}
        with OrthancServer(folder, settings=settings) as orthanc:
            yield orthanc.dicom_port, "ORTHANC", orthanc.process_id
        return
    port = free_port()
    if server == STORESCP:
        storescp = shutil.which("storescp")
        assert storescp is not None, "sh deploy/install-test-packages.sh installs it"
        command = [storescp, "-od", folder, "+B", "-pdu", PEER_PDU_BYTES, "--fork", port]
    elif server == PYNETDICOM:
        command = [sys.executable, "-m", "pynetdicom", "storescp", port, "-od", folder, "--max-pdu", PEER_PDU_BYTES]
    else:
        command = [sys.executable, "-c", OUR_PROGRAM, folder, port, "synced" if server == DURABLE else "unsynced"]
    process = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    try:
        yield port, "DICOMNODE", process.pid
    finally:
        process.stdin.close()
        process.terminate()
        process.wait()


def _association(port: int, called_ae: str) -> RawAssociation:
    deadline = time.monotonic() + START_S
    while True:
        try:
            association = RawAssociation(port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
            continue
        assert association.associate(called_ae=called_ae) == 2
        return association


def _cpu_s(process: int) -> float:
    """User and system time of a process and its children, alive or gone."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ticks = 0
    for number in (process, *children):
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")
