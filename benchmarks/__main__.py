"""``make bench``: every benchmark, its ratio and its goal."""

import sys
from collections.abc import Callable, Sequence

import click

from benchmarks import angiogram, kills, overhead, receive, receive_memory, receive_pdu, segmentation, triton, viewing
from benchmarks.result import Result
from dicom_node.logs import configure_logging


@click.command()
@click.option("--repeats", default=3, show_default=True)
@click.option("--slices", default=300, show_default=True)
@click.option("--gigabytes", default=20, show_default=True, help="Of receive-memory.")
@click.option("--kills", "kill_count", default=50, show_default=True, help="How often, in kills.")
@click.option("--objects", default=2000, show_default=True, help="Of kills.")
@click.option("--only", metavar="NAME", help="One benchmark: its module here.")
def bench(repeats: int, slices: int, gigabytes: int, kill_count: int, objects: int, only: str | None) -> None:
    """Run every benchmark but the long ones, which want to be named; exit status 1 where a goal is missed."""
    configure_logging("warning")
    every: dict[str, Callable[[], Sequence[Result]]] = {
        "receive": lambda: receive.measure(repeats=repeats),
        "segmentation": lambda: [segmentation.measure(repeats=repeats, slices=slices)],
        "overhead": lambda: [overhead.measure(repeats=repeats, slices=slices)],
        "viewing": lambda: [viewing.measure(slices=slices)],
        "triton": lambda: triton.measure(repeats=repeats, slices=slices),
        "angiogram": lambda: angiogram.measure(slices=slices),
    }
    long: dict[str, Callable[[], Sequence[Result]]] = {
        "receive-pdu": lambda: receive_pdu.measure(repeats=repeats),
        "receive-memory": lambda: receive_memory.measure(gigabytes=gigabytes),
        "kills": lambda: kills.measure(kills=kill_count, objects=objects),
    }
    if only is None:
        chosen = list(every.values())
    elif only in every | long:
        chosen = [(every | long)[only]]
    else:
        raise click.BadParameter(f"one of {', '.join(every | long)}", param_hint="--only")
    results = [result for measure in chosen for result in measure()]
    for result in results:
        click.echo(result.line())
    sys.exit(0 if all(result.reached for result in results) else 1)


bench()
