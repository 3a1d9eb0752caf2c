"""``make geometry``: run every case and write the table."""

import sys
import tempfile
from pathlib import Path

import click

from benchmarks.geometry.proof import measure
from benchmarks.geometry.table import document
from dicom_node.logs import configure_logging


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("docs/geometry.md"))
def prove(out: Path) -> None:
    """Write the table; exit status 1 where a case does not come out as it has to."""
    configure_logging("warning")
    rows = []
    with tempfile.TemporaryDirectory(prefix="geometry-") as folder:
        for row in measure(Path(folder)):
            click.echo(f"{'holds' if row.holds else 'FAILS'}  {row.case.name}  {row.refusal}")
            rows.append(row)
    out.write_text(document(rows), encoding="utf-8")
    sys.exit(0 if all(row.holds for row in rows) else 1)


prove()
