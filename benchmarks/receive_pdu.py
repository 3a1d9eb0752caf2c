"""What the announced maximum PDU changes: ours alone, from one association and from four."""

import itertools
import random
import statistics

import click

from benchmarks.receive import FOUR, ONE, Load, Run, run
from benchmarks.receiving.senders import Senders
from benchmarks.receiving.servers import DURABLE, UNSYNCED
from benchmarks.result import Result

KIB = 1024
SIZES = (16 * KIB, 128 * KIB, 256 * KIB, 1024 * KIB)
"""Of the variable field of a P-DATA-TF, in bytes (``ScpSettings.maximum_pdu_bytes``)."""


def measure(*, repeats: int) -> list[Result]:
    """Print the table; nothing of it is held to a goal."""
    cases: list[tuple[Load, str, int]] = list(itertools.product((ONE, FOUR), (UNSYNCED, DURABLE), SIZES))
    runs: dict[tuple[Load, str, int], list[Run]] = {case: [] for case in cases}
    order = random.Random(0)
    with Senders() as senders:
        for _ in range(repeats):
            for load, server, size in order.sample(cases, len(cases)):
                runs[load, server, size].append(run(senders, server, load, maximum_pdu=size))
    click.echo("| load | server | maximum PDU, KiB | MB/s | CPU s/GB |\n|---|---|---|---|---|")
    for (load, server, size), measured in runs.items():
        mb_s = statistics.median(one.mb_s for one in measured)
        cpu_s_gb = statistics.median(one.cpu_s_gb for one in measured)
        click.echo(f"| {load.name} | {server} | {size // KIB} | {mb_s:.0f} | {cpu_s_gb:.2f} |")
    return []
