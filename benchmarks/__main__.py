"""``make bench``: every benchmark, its ratio and its goal."""

import sys

import click

from benchmarks import angiogram, overhead, segmentation, triton, viewing
from dicom_node.logs import configure_logging


@click.command()
@click.option("--repeats", default=3, show_default=True)
@click.option("--slices", default=300, show_default=True)
def bench(repeats: int, slices: int) -> None:
    """Run every benchmark; exit status 1 where a goal is missed."""
    configure_logging("warning")
    results = [
        segmentation.measure(repeats=repeats, slices=slices),
        overhead.measure(repeats=repeats, slices=slices),
        viewing.measure(slices=slices),
        *triton.measure(repeats=repeats, slices=slices),
        *angiogram.measure(slices=slices),
    ]
    for result in results:
        click.echo(result.line())
    sys.exit(0 if all(result.reached for result in results) else 1)


bench()
