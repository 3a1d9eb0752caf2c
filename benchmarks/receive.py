"""What receiving costs, beside dcmtk's storescp, Orthanc and pynetdicom's storescp: MB/s, processor time, latency.

Every server runs as a process of its own and gets the same objects from the same bare-socket senders, in turns, so that
a busy machine slows all of them alike. Ours is the whole way of an instance (checks, spool, digest, index row) without
what a node does with studies afterwards; "unsynced" leaves out the fsync alone, and is no setting of a node.
"""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from benchmarks.receiving import associations
from benchmarks.receiving.processes import cpu_s
from benchmarks.receiving.senders import Senders
from benchmarks.receiving.servers import (
    DURABLE,
    MOST_ASSOCIATIONS,
    ORTHANC_SYNCED,
    SERVERS,
    STORESCP,
    UNSYNCED,
    serving,
)
from benchmarks.result import Result

SETTLE_S = 0.5
"""After the last response: what a server still does for the objects counts."""
WARM_UP = 2
"""Objects of each association: the first of a connection opens what the others use."""
BYTES_PER_GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is sent at once."""

    name: str
    associations: int
    objects: int
    """Of all associations together."""
    size_px: int


ONE, FOUR, SIXTEEN, SIXTY_FOUR, TINY = LOADS = (
    Load(name="CT 512², 1 association", associations=1, objects=300, size_px=512),
    Load(name="CT 512², 4 associations", associations=4, objects=300, size_px=512),
    Load(name="CT 512², 16 associations", associations=16, objects=640, size_px=512),
    Load(name="CT 512², 64 associations", associations=64, objects=640, size_px=512),
    Load(name="tiny objects, 1 association", associations=1, objects=2000, size_px=4),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One load into one server."""

    mb_s: float
    objects_s: float
    cpu_s_gb: float
    cpu_ms_object: float
    median_ms: float
    p95_ms: float


Runs = dict[tuple[str, str], list[Run]]
"""By name of load and server, in the order of the repeats."""


def measure(*, repeats: int) -> list[Result]:
    """Print the tables and return what is held to a goal."""
    runs: Runs = {
        (load.name, server): []
        for load in LOADS
        for server in SERVERS
        if load.associations <= MOST_ASSOCIATIONS.get(server, load.associations)
    }
    order = random.Random(0)  # another one each time, the same in every run: no server always has the same neighbour
    with Senders() as senders:
        for _ in range(repeats):
            for load in LOADS:
                for server in order.sample(SERVERS, len(SERVERS)):
                    if (load.name, server) in runs:
                        runs[load.name, server].append(run(senders, server, load))
    click.echo("| load | server | MB/s | objects/s | CPU s/GB | CPU ms/object | median ms | p95 ms |")
    click.echo("|---|---|---|---|---|---|---|---|")
    for (load_name, server), measured in runs.items():
        cells = [
            f"{_median(measured, 'mb_s'):.0f}",
            f"{_median(measured, 'objects_s'):.0f}",
            f"{_median(measured, 'cpu_s_gb'):.2f}",
            f"{_median(measured, 'cpu_ms_object'):.2f}",
            f"{_median(measured, 'median_ms'):.2f}",
            f"{_median(measured, 'p95_ms'):.2f}",
        ]
        click.echo(f"| {load_name} | {server} | {' | '.join(cells)} |")
    return _results(runs) + associations.measure()


def run(senders: Senders, server: str, load: Load, *, maximum_pdu: int | None = None) -> Run:
    """A fresh server, and the load; ``maximum_pdu`` in bytes, of ours alone."""
    with serving(server, maximum_pdu=maximum_pdu) as served:
        senders.open(served.port, served.called_ae, associations=load.associations, size_px=load.size_px)
        senders.send(WARM_UP)
        time.sleep(SETTLE_S)
        used = cpu_s(served.process)
        delivery = senders.send(load.objects // load.associations)
        time.sleep(SETTLE_S)
        used = cpu_s(served.process) - used
        senders.release()
    latencies = delivery.latencies_s
    return Run(
        mb_s=delivery.size_bytes / 1e6 / delivery.elapsed_s,
        objects_s=len(latencies) / delivery.elapsed_s,
        cpu_s_gb=used / (delivery.size_bytes / BYTES_PER_GB),
        cpu_ms_object=used / len(latencies) * 1e3,
        median_ms=statistics.median(latencies) * 1e3,
        p95_ms=latencies[int(0.95 * len(latencies))] * 1e3,
    )


def _results(runs: Runs) -> list[Result]:
    """Goals as "at most": how many times as long as the goal's peer we may take."""

    def ratio(load: Load, ours: str, peer: str, of: Callable[[Run], float]) -> float:
        pairs = zip(runs[load.name, peer], runs[load.name, ours], strict=True)
        return statistics.median(of(theirs) / of(own) for theirs, own in pairs)

    goals = [
        (ONE, UNSYNCED, STORESCP, 1 / 1.2),
        (FOUR, UNSYNCED, STORESCP, 1.0),
        (SIXTEEN, UNSYNCED, STORESCP, 1.0),
        (SIXTY_FOUR, UNSYNCED, STORESCP, 1.0),
        (ONE, DURABLE, ORTHANC_SYNCED, 1 / 3),
        (ONE, DURABLE, STORESCP, 1 / 0.6),
        (TINY, UNSYNCED, STORESCP, 1.0),
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
    cpu = 1 / ratio(ONE, UNSYNCED, STORESCP, lambda run: run.cpu_s_gb)
    results.append(Result(name=f"receiving: CPU a GB, {UNSYNCED} / {STORESCP}", ratio=cpu, goal=1.0, detail=ONE.name))
    return results


def _median(measured: Sequence[Run], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in measured))
