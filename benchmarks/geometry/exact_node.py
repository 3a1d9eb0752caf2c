"""``dicom-node`` with a rule in place of its networks: what is painted in Hounsfield units, it finds exactly.

Everything else is the node as shipped: association, spool, index, assembly, routing, volumes, results, delivery. Run
as a process: ``python -m benchmarks.geometry.exact_node serve …``.
"""

from collections.abc import Callable

import numpy as np

import inference.pipelines
from benchmarks.geometry.phantom import Paint, region_mask
from dicom_node.__main__ import main
from inference.engines.base import Engine
from inference.findings import (
    Box,
    Classification,
    Condition,
    Embolus,
    Findings,
    Mask,
    ModelIdentity,
    Presence,
    Region,
    Status,
)
from inference.model import Model
from inference.severity import LungMasks, involvement
from inference.volume import Volume

RULE = ModelIdentity(
    name="paint", version="1", digest="00" * 32, trained_on="nothing: it reads painted values", licence="Apache-2.0"
)
CERTAIN = 0.95


class PaintedRegions:
    """Stands where the lung pipeline stands, so that the shipped routing rules feed it."""

    name = "lung_lesions"
    models: tuple[Model, ...] = ()

    def run(self, volume: Volume, engine: Engine, *, cancelled: Callable[[], bool] | None = None) -> Findings:
        """Masks of the painted regions on the volume's grid, and a box around the marked pixel."""
        masks = {region: region_mask(region, volume.array_zyx) for region in Region}
        lungs = LungMasks(
            left=masks[Region.LEFT_LUNG], right=masks[Region.RIGHT_LUNG], infected=masks[Region.INFECTED_REGION]
        )
        return Findings(
            pipeline=self.name,
            status=Status.POSITIVE,
            reason="",
            models=(RULE,),
            masks=tuple(Mask(region=region, array_zyx=mask, model=RULE) for region, mask in masks.items()),
            involvement=involvement(lungs, volume),
            classifications=(
                Classification(condition=Condition.PULMONARY_EMBOLISM, presence=Presence.PRESENT, probability=CERTAIN),
            ),
            emboli=(_marked(volume),),
        )


def _marked(volume: Volume) -> Embolus:
    """The one marked pixel as an embolus of one box: its edges are the pixel's."""
    ((k, j, i),) = np.argwhere(volume.array_zyx == Paint.MARKER)
    box = Box(slice_index=int(k), box_xyxy_px=(float(i), float(j), float(i + 1), float(j + 1)), score=CERTAIN)
    return Embolus(number=1, side=None, probability=CERTAIN, extent_xyz_mm=volume.spacing_xyz_mm, boxes=(box,))


if __name__ == "__main__":
    inference.pipelines.PIPELINES = (PaintedRegions(),)
    main()
