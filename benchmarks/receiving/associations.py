"""What associations themselves cost: how long one takes to be established, and what 64 idle ones take."""

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass

import click

from benchmarks.raw_sender import RawAssociation
from benchmarks.receiving.processes import cpu_s, own_kb
from benchmarks.receiving.servers import (
    DURABLE,
    MOST_ASSOCIATIONS,
    ORTHANC,
    PYNETDICOM,
    STORESCP,
    Server,
    serving,
)
from benchmarks.result import Result

ESTABLISHED = 50
IDLE = 64
IDLE_S = 3.0
SETTLE_S = 0.5
GOAL_SHARE = 0.02
GOAL_MS = 1.0
SERVERS = (STORESCP, DURABLE, ORTHANC, PYNETDICOM)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Idle:
    share: float
    """Of one core."""
    kb_each: float
    """Memory of an association, in kB."""


def measure() -> list[Result]:
    """Print the table and return what is held to a goal."""
    click.echo(f"\n| server | set-up, median ms | {IDLE} idle: % of a core | kB each |\n|---|---|---|---|")
    results = []
    for name in SERVERS:
        with serving(name) as server:
            set_up_ms = statistics.median(_set_up_ms(server) for _ in range(ESTABLISHED))
            idle = _idle(server) if name not in MOST_ASSOCIATIONS else None
        cells = ["takes no 64", ""] if idle is None else [f"{100 * idle.share:.1f}", f"{idle.kb_each:.0f}"]
        click.echo(f"| {name} | {set_up_ms:.2f} | {' | '.join(cells)} |")
        if name == DURABLE and idle is not None:
            results = [
                Result(
                    name="receiving: association set-up",
                    ratio=set_up_ms,
                    goal=GOAL_MS,
                    unit="ms",
                    detail=f"median of {ESTABLISHED}",
                ),
                Result(
                    name=f"receiving: {IDLE} idle associations",
                    ratio=idle.share,
                    goal=GOAL_SHARE,
                    unit="of a core",
                    detail=f"over {IDLE_S:.0f} s; {idle.kb_each:.0f} kB each",
                ),
            ]
    return results


def _set_up_ms(server: Server) -> float:
    """From connecting to the A-ASSOCIATE-AC."""
    started = time.perf_counter()
    with RawAssociation(server.port) as association:
        assert association.associate(called_ae=server.called_ae) == 2
        elapsed = time.perf_counter() - started
        association.release()
    return elapsed * 1e3


def _idle(server: Server) -> _Idle:
    time.sleep(SETTLE_S)
    before = own_kb(server.process)
    with ExitStack() as opened:
        for _ in range(IDLE):
            association = opened.enter_context(RawAssociation(server.port))
            assert association.associate(called_ae=server.called_ae) == 2
        time.sleep(SETTLE_S)
        used, since = cpu_s(server.process), time.monotonic()
        time.sleep(IDLE_S)
        share = (cpu_s(server.process) - used) / (time.monotonic() - since)
        return _Idle(share=share, kb_each=(own_kb(server.process) - before) / IDLE)
