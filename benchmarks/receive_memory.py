"""Whether a receiving node's memory stays flat while gigabytes pass through it."""

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

import click

from benchmarks.receiving.processes import memory_kb
from benchmarks.receiving.senders import Senders
from benchmarks.receiving.servers import DURABLE, serving
from benchmarks.result import Result

ASSOCIATIONS = 2
SIZE_PX = 512
GB = 10**9
MARGIN_GB = 15
"""Free disk that has to be there beyond what will be sent: a node deletes nothing."""
LEAST_FREE_GB = 10
"""Below that the run ends early."""
SETTLE_S = 0.5
GOAL_MB = 16.0
"""From the second gigabyte on: the first fills caches, and what Python keeps of its peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Memory of the process after so many bytes."""

    received_gb: float
    resident_mb: float
    """VmRSS: mapped files count where they are in memory."""
    own_mb: float
    """RssAnon: what only it has."""


def measure(*, gigabytes: int) -> list[Result]:
    """Print memory after every gigabyte. Raises ``click.ClickException`` where the disk has no room for it."""
    if gigabytes < 3:
        raise click.ClickException("growth is measured from the second gigabyte on: take three or more")
    if _free_gb() < gigabytes + MARGIN_GB:
        raise click.ClickException(
            f"{gigabytes} GB need {gigabytes + MARGIN_GB} GB free in {tempfile.gettempdir()}, "
            f"and there are {_free_gb():.0f}: make room, set TMPDIR, or take fewer with --gigabytes"
        )
    readings = []
    click.echo("| GB | VmRSS, MB | RssAnon, MB | MB/s |\n|---|---|---|---|")
    for reading, mb_s in _readings(gigabytes):
        readings.append(reading)
        click.echo(f"| {reading.received_gb:.1f} | {reading.resident_mb:.1f} | {reading.own_mb:.1f} | {mb_s:.0f} |")
    later = readings[1:]
    slope, _ = statistics.linear_regression(
        [reading.received_gb for reading in later], [reading.resident_mb for reading in later]
    )
    return [
        Result(
            name="receiving: memory of the node grows",
            ratio=later[-1].resident_mb - later[0].resident_mb,
            goal=GOAL_MB,
            unit="MB",
            detail=f"from {later[0].received_gb:.1f} to {later[-1].received_gb:.1f} GB; slope {slope:.2f} MB a GB",
        )
    ]


def _readings(gigabytes: int) -> Iterator[tuple[Reading, float]]:
    """After every gigabyte, with the MB/s of it."""
    share = GB // (2 * SIZE_PX * SIZE_PX * ASSOCIATIONS)
    received = 0
    with Senders() as senders, serving(DURABLE) as server:
        senders.open(server.port, server.called_ae, associations=ASSOCIATIONS, size_px=SIZE_PX)
        for _ in range(gigabytes):
            if _free_gb() < LEAST_FREE_GB:
                raise click.ClickException(f"stopped after {received / GB:.1f} GB: less than {LEAST_FREE_GB} GB free")
            delivery = senders.send(share)
            received += delivery.size_bytes
            time.sleep(SETTLE_S)
            reading = Reading(
                received_gb=received / GB,
                resident_mb=memory_kb(server.process, "VmRSS") / 1000,
                own_mb=memory_kb(server.process, "RssAnon") / 1000,
            )
            yield reading, delivery.size_bytes / 1e6 / delivery.elapsed_s
        senders.release()


def _free_gb() -> float:
    return shutil.disk_usage(tempfile.gettempdir()).free / GB
