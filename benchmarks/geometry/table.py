"""The rows as ``docs/geometry.md``."""

from collections.abc import Sequence

from benchmarks.geometry.grids import Form
from benchmarks.geometry.proof import Agreement, Row

INTRODUCTION = """\
# Geometry, voxel by voxel

This file is written by `make geometry`; a test makes the same table and compares.

A chest CT phantom is resampled onto the grid of each row, every tissue with Hounsfield units of its own, so that the
slices themselves hold the truth. Each study goes by C-STORE through one real node, whose networks are replaced by the
rule that reads those values; association, spool, routing, volume, segmentation and delivery are the node's own. The SEG
that an archive then gets is read back without the node's code and compared with the truth in every voxel of every slice
and all three regions (left lung, right lung, infected region), also where the SEG holds no frame.

- **by source**: highdicom's masks for the source instance, or frame, that the SEG names;
- **by place**: the volume that highdicom makes of the SEG, each plane put where its affine says it lies;
- **dcmtk**: pixel data out of `dcmdump +W`, attributes out of `dcm2xml`; each frame is put where its own Image
  Position, Orientation and Pixel Spacing say, and has to name the source frame that lies there;
- **off**: the largest distance between the centre of a voxel, as dcmtk reads it, and of the source's voxel that it
  marks, after equation C.7.6.2.1-1 of PS3.3, in mm. highdicom's even grid lies as near, but where a scanner rounded its
  positions: there up to 0.15 mm off, the rounding.
- **box**: one pixel of each study is marked, and the rule puts a box around it; the TID 1500 report that comes back is
  read by highdicom and by `dsrdump +Pl`: column and row of the pixel that its SCOORD encloses, and the frame of its
  image where that has several.

Numbers under the three readings are voxels that differ from the truth.
"""
COLUMNS = (
    "geometry", "object", "numbered", "slices × rows × columns", "spacing, mm", "voxels × regions", "by source",
    "by place", "dcmtk", "off, mm", "box",
)  # fmt: skip
ANALYSED_HEAD = f"## What the node analyses\n\n| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n"
REFUSED_HEAD = """\
## What it refuses, and says why

A refused study gets its report with this reason, and no segmentation: nothing is resampled onto a grid that the scanner
did not use.

| geometry | reason in the report |
|---|---|
"""


def document(rows: Sequence[Row]) -> str:
    """The whole file."""
    analysed = "".join(_analysed(row) for row in rows if not row.refusal)
    refused = "".join(f"| {row.case.name} | {row.refusal} |\n" for row in rows if row.refusal)
    return f"{INTRODUCTION}\n{ANALYSED_HEAD}{analysed}\n{REFUSED_HEAD}{refused}"


def _analysed(row: Row) -> str:
    grid = row.case.grid
    between_rows, between_columns = grid.spacing_mm
    cells = (
        row.case.name,
        row.case.form.value,
        row.case.order.value,
        "{} × {} × {}".format(*grid.shape),
        f"{grid.distance_mm:g} × {between_rows:g} × {between_columns:g}",
        f"{row.compared_voxels:,}".replace(",", " "),
        *(_differing(each) for each in (row.by_source, row.by_place, row.dcmtk)),
        "not read" if row.dcmtk is None else f"{row.dcmtk.farthest_mm:.3f}",
        _box(row),
    )
    return f"| {' | '.join(cells)} |\n"


def _differing(agreement: Agreement | None) -> str:
    if agreement is None:
        return "not read"
    return f"{agreement.wrong_voxels}" + (
        f", {agreement.misplaced_frames} misplaced" if agreement.misplaced_frames else ""
    )


def _box(row: Row) -> str:
    if not row.box_comes_back or row.drawn is None:
        return "NOT on its pixel"
    (_, number), (left, top, _, _) = row.drawn.source, row.drawn.box_xyxy_px
    frame = "" if row.case.form is Form.SINGLE else f", frame {number}"
    return f"column {left:g}, row {top:g}{frame}"
