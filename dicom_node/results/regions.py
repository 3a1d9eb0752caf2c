"""How each region is named, coded and coloured, the same in every object.

Owns one table, in the order of the segment numbers, and the codes of the sides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pydicom.sr.coding import Code

from dicom_node.results import codes
from inference.findings import Region, Side

LATERALITIES: Final[Mapping[Side, Code]] = MappingProxyType(
    {Side.LEFT: codes.LEFT, Side.RIGHT: codes.RIGHT, Side.BILATERAL: codes.BILATERAL}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionDescription:
    """One region as people and machines read it."""

    region: Region
    label: str
    category: Code
    type: Code
    type_modifier: Code
    anatomic_region: Code
    laterality: Code | None
    colour_rgb: tuple[int, int, int]


REGIONS = (
    RegionDescription(
        region=Region.LEFT_LUNG,
        label="Left lung",
        category=codes.ANATOMICAL_STRUCTURE,
        type=codes.LUNG,
        type_modifier=codes.LEFT,
        anatomic_region=codes.LUNG,
        laterality=codes.LEFT,
        colour_rgb=(96, 196, 255),
    ),
    RegionDescription(
        region=Region.RIGHT_LUNG,
        label="Right lung",
        category=codes.ANATOMICAL_STRUCTURE,
        type=codes.LUNG,
        type_modifier=codes.RIGHT,
        anatomic_region=codes.LUNG,
        laterality=codes.RIGHT,
        colour_rgb=(110, 224, 150),
    ),
    RegionDescription(
        region=Region.INFECTED_REGION,
        label="Infected region",
        category=codes.MORPHOLOGICALLY_ABNORMAL,
        type=codes.LESION,
        type_modifier=codes.ABNORMAL_OPACITY,
        anatomic_region=codes.LUNG,
        laterality=None,
        colour_rgb=(255, 112, 32),
    ),
)
