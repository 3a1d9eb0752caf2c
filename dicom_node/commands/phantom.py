"""``dicom-node phantom``: a generated chest CT or CT pulmonary angiogram with its truth."""

from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--kind", type=click.Choice(["ct", "ctpa"]), required=True, help="What to generate.")
@click.option("--slices", type=click.IntRange(min=1), default=60, show_default=True, help="Over 300 mm of chest.")
@click.option(
    "--size", "size_px", type=click.IntRange(min=64), default=512, show_default=True, help="Rows and columns."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed is another patient.")
@click.option("--normal", is_flag=True, help="ct: without lesions; ctpa: without emboli.")
def phantom(out: Path, kind: str, slices: int, size_px: int, seed: int, normal: bool) -> None:
    """Write a synthetic chest CT or CT pulmonary angiogram into OUT, and its truth as a DICOM SEG into OUT/truth.

    Of an angiogram, OUT/truth/boxes.json has the boxes around its emboli as well.
    """
    from dicom_node.demonstration.phantom_study import write_phantom_study

    study = write_phantom_study(out, kind=kind, slices=slices, size_px=size_px, seed=seed, normal=normal)
    click.echo(f"study {study.study_uid}: {len(study.images)} images in {study.folder}, truth in {study.truth}")
