"""``dicom-node phantom``: a generated chest CT or CT pulmonary angiogram with its truth."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from dicom_node.commands.options import UsageFailure

if TYPE_CHECKING:
    from dicom_node.demonstration.phantom_study import PhantomStudy

SLICES = {"ct": 60, "ctpa": 100}
"""Of each kind: 5 mm apart, and the 3 mm that emboli are looked for in."""


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--kind", type=click.Choice(["ct", "ctpa"]), required=True, help="What to generate.")
@click.option("--slices", type=click.IntRange(min=1), help="Over 300 mm of chest; ct: 60, ctpa: 100.")
@click.option(
    "--size", "size_px", type=click.IntRange(min=64), default=512, show_default=True, help="Rows and columns."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another seed is another patient."
)
@click.option("--normal", is_flag=True, help="ct: without lesions; ctpa: without emboli.")
@click.option(
    "--onto",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="ctpa: paint emboli into the real CT angiogram in this folder; slices and size are its own.",
)
def phantom(out: Path, kind: str, slices: int | None, size_px: int, seed: int, normal: bool, onto: Path | None) -> None:
    """Write a synthetic chest CT or CT pulmonary angiogram into OUT, and its truth as a DICOM SEG into OUT/truth.

    Of an angiogram, OUT/truth/boxes.json has the boxes around its emboli as well. With --onto the picture is a real
    one, presumed free of emboli, without its patient's data.
    """
    from dicom_node.demonstration.phantom_study import write_phantom_study

    if onto is not None:
        if kind != "ctpa" or normal:
            raise UsageFailure("--onto paints emboli: it goes with --kind ctpa and without --normal")
        study = _painted(out, onto, seed)
        click.echo(f"study {study.study_uid}: {len(study.images)} images in {study.folder}, truth in {study.truth}")
        return
    study = write_phantom_study(
        out, kind=kind, slices=slices or SLICES[kind], size_px=size_px, seed=seed, normal=normal
    )
    click.echo(f"study {study.study_uid}: {len(study.images)} images in {study.folder}, truth in {study.truth}")


def _painted(out: Path, folder: Path, seed: int) -> "PhantomStudy":
    from dicom_node.app import make_engine
    from dicom_node.commands.angiogram_folder import angiogram_in
    from dicom_node.demonstration.phantom_study import write_painted_study
    from dicom_node.settings import EngineSettings
    from inference.engines.base import EngineError
    from inference.phantoms import Phantom
    from inference.training.painted_angiograms import RealAngiogram

    volume = angiogram_in(folder)
    try:
        real = RealAngiogram.of(volume, make_engine(EngineSettings()))
    except (ValueError, EngineError) as error:
        raise UsageFailure(f"{folder}: {error}") from error
    painted = real.painted(seed, more=1)
    phantom = Phantom(
        volume=painted.volume,
        left_lung=real.left_lung,
        right_lung=real.right_lung,
        infected=np.zeros_like(real.left_lung),
        slice_thickness_mm=volume.spacing_xyz_mm[2],
        clots=painted.clots,
    )
    return write_painted_study(out, phantom, seed=seed, source=volume.frame_of_reference_uid)
