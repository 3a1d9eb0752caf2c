"""Lungs, lesions and a reference as points in space, for three-dimensional viewers such as ParaView.

After Maganaris et al. 2022 (S0): each point is the centre of a voxel in the patient's coordinates (LPS, mm) with
its Hounsfield units. The format is CSV, which ParaView reads by itself (then "Table To Points").
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.volume import Volume

COLUMNS = ("x_mm", "y_mm", "z_mm", "hu", "region")
LARGEST_COUNT = 300_000
"""Points of a region; of more, every n-th is written. Viewers turn slow beyond a million."""

Regions = Mapping[str, NDArray[np.bool_]]
"""Masks on the volume's grid by name."""


def write_points(volume: Volume, regions: Regions, path: Path) -> dict[str, int]:
    """Write the file; how many points each region got. Regions may overlap: a voxel is a point of each."""
    counts = {}
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for name, mask in regions.items():
            rows = list(_rows(volume, mask, name))
            table.writerows(rows)
            counts[name] = len(rows)
    return counts


def _rows(volume: Volume, mask: NDArray[np.bool_], name: str) -> Iterator[tuple[float, float, float, int, str]]:
    found = np.flatnonzero(mask)
    found = found[:: max(1, -(-len(found) // LARGEST_COUNT))]
    k, j, i = np.unravel_index(found, mask.shape)
    index = np.stack([i, j, k, np.ones_like(i)]).astype(np.float64)
    x, y, z, _ = volume.index_to_patient @ index
    for point in zip(x, y, z, volume.array_zyx[k, j, i], strict=True):
        yield round(float(point[0]), 2), round(float(point[1]), 2), round(float(point[2]), 2), int(point[3]), name
