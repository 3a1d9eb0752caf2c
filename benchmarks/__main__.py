"""``make bench``: every benchmark, its ratio and its goal."""

import sys
from collections.abc import Callable, Sequence

import click

from benchmarks import angiogram, overhead, receive, segmentation, triton, viewing
from benchmarks.result import Result
from dicom_node.logs import configure_logging


@click.command()
@click.option("--repeats", default=3, show_default=True)
@click.option("--slices", default=300, show_default=True)
@click.option("--only", metavar="NAME", help="One benchmark: its module here.")
def bench(repeats: int, slices: int, only: str | None) -> None:
    """Run every benchmark; exit status 1 where a goal is missed."""
    configure_logging("warning")
    every: dict[str, Callable[[], Sequence[Result]]] = {
        "receive": lambda: receive.measure(repeats=repeats),
        "segmentation": lambda: [segmentation.measure(repeats=repeats, slices=slices)],
        "overhead": lambda: [overhead.measure(repeats=repeats, slices=slices)],
        "viewing": lambda: [viewing.measure(slices=slices)],
        "triton": lambda: triton.measure(repeats=repeats, slices=slices),
        "angiogram": lambda: angiogram.measure(slices=slices),
    }
    if only is not None and only not in every:
        raise click.BadParameter(f"one of {', '.join(every)}", param_hint="--only")
    results = [result for name, measure in every.items() if only in (None, name) for result in measure()]
    for result in results:
        click.echo(result.line())
    sys.exit(0 if all(result.reached for result in results) else 1)


bench()
