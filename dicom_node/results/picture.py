"""The summary page as pixels: key slices with contours and boxes, and the result in words beside them.

Owns layout and colours. Knows no DICOM: arrays, an affine and texts in, an RGB array out. The font is the one that
Pillow brings, so that the page looks the same on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from dicom_node.results.key_slices import Presentation
from dicom_node.results.wording import percent
from inference.findings import SeverityScore

RGB = tuple[int, int, int]
XYXY = tuple[float, float, float, float]
"""Left, top, right, bottom."""
Plane = NDArray[np.bool_]

WINDOW_HU: Final = (-1350, 150)
"""Lung window: level -600, width 1500, as radiology departments set it."""
EMBOLISM_WINDOW_HU: Final = (-250, 450)
"""Level 100, width 700: filled arteries are bright but not white, clots darker (Wittram, RadioGraphics
2004;24:1219)."""
PAGE_PX: Final = (1600, 940)
"""Width and height; fits a 1920x1080 screen without scaling."""
TEXT_PAGE_PX: Final = (960, 400)
"""Of a page without tiles."""
TILE_PX: Final = 372
COLUMNS, ROWS = 3, 2
_OVERSAMPLING: Final = 2
"""Tiles are drawn larger and shrunk, which smooths the contours."""
_MARGIN, _GAP, _PANEL_LEFT = 24, 10, 1196
_GRID_TOP, _CAPTION_PX = 84, 26
SCALE_BAR_MM: Final = 50

BACKGROUND: Final[RGB] = (16, 18, 22)
TEXT: Final[RGB] = (232, 234, 238)
MUTED: Final[RGB] = (150, 156, 166)
BOX: Final[RGB] = (255, 84, 112)
"""Around an embolus."""
_BOX_LINE_PX, _BOX_NAME_PX = 2, 20
LINE: Final[RGB] = (58, 62, 70)
WARNING: Final[RGB] = (255, 196, 64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """One key slice: Hounsfield units and masks in the stored order of rows and columns, and its caption."""

    plane_hu: NDArray[np.int16]
    contours: tuple[tuple[Plane, RGB, int], ...]
    """Mask, colour and line width in pixels, drawn in this order."""
    boxes: tuple[tuple[str, XYXY], ...]
    """Name, and left, top, right, bottom in pixels of the stored slice, from the outer corner of the first."""
    window_hu: tuple[int, int]
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What stands on the page beside the tiles."""

    title: str
    outcome: str
    outcome_colour: RGB
    sentences: tuple[str, ...]
    score: SeverityScore | None
    score_title: str
    legend: tuple[tuple[str, RGB], ...]
    details: tuple[str, ...]
    warning: str


def draw_page(
    page: Page, tiles: Sequence[Tile], shown: Presentation | None, crop: tuple[slice, slice]
) -> NDArray[np.uint8]:
    """The page, (rows, columns, 3) RGB. Without ``shown`` it holds text alone.

    ``crop``: the rows and columns of the *turned* planes that are shown.
    """
    width, height = TEXT_PAGE_PX if shown is None else PAGE_PX
    image = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(image)
    # In the middle, because viewers write study, window and image number into the corners.
    draw.text((width / 2, 26), page.title, TEXT, _font(28), anchor="ma")
    draw.line((_MARGIN, 70, width - _MARGIN, 70), LINE)
    draw.text((width / 2, height - 40), page.warning, WARNING, _font(20 if shown else 16), anchor="ma")
    if shown is None:
        _panel(draw, page, (_MARGIN, width - 2 * _MARGIN))
        return np.asarray(image)
    for number, tile in enumerate(tiles[: COLUMNS * ROWS]):
        x = _MARGIN + number % COLUMNS * (TILE_PX + _GAP)
        y = _GRID_TOP + number // COLUMNS * (TILE_PX + _CAPTION_PX + _GAP)
        image.paste(_tile(tile, shown, crop), (x, y))
        draw.text((x + 2, y + TILE_PX + 3), tile.caption, MUTED, _font(16))
    _panel(draw, page, (_PANEL_LEFT, width - _MARGIN - _PANEL_LEFT))
    return np.asarray(image)


def _tile(tile: Tile, shown: Presentation, crop: tuple[slice, slice]) -> Image.Image:
    size = TILE_PX * _OVERSAMPLING
    plane = shown.apply(tile.plane_hu)[crop].astype(np.float32)
    height_mm, width_mm = plane.shape[0] * shown.pixel_mm[0], plane.shape[1] * shown.pixel_mm[1]
    px_per_mm = size / max(height_mm, width_mm)
    extent = (max(1, round(width_mm * px_per_mm)), max(1, round(height_mm * px_per_mm)))
    low, high = tile.window_hu
    grey = (np.clip((plane - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    pixels = np.repeat(np.asarray(_resized(grey, extent))[..., None], 3, axis=2)
    for mask, colour, width in tile.contours:
        turned = np.where(shown.apply(mask)[crop], 255, 0).astype(np.uint8)
        inside = np.asarray(_resized(turned, extent)) > 127
        if inside.any():
            pixels[inside & ~binary_erosion(inside, iterations=width * _OVERSAMPLING, border_value=1)] = colour
    frame = Image.new("RGB", (size, size))
    corner = ((size - extent[0]) // 2, (size - extent[1]) // 2)
    frame.paste(Image.fromarray(pixels), corner)
    pixel = (extent[0] / plane.shape[1], extent[1] / plane.shape[0])
    origin = (corner[0] - crop[1].start * pixel[0], corner[1] - crop[0].start * pixel[1])
    boxes = [
        (name, _outline(shown.apply_to_box(box_xyxy_px, tile.plane_hu.shape), origin, pixel))
        for name, box_xyxy_px in tile.boxes
    ]
    draw = ImageDraw.Draw(frame)
    for _, box in boxes:
        draw.rectangle(box, outline=BOX, width=_BOX_LINE_PX * _OVERSAMPLING)
    small = frame.resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)
    _name_boxes(small, boxes)
    _mark(small, shown, px_per_mm / _OVERSAMPLING)
    return small


def _resized(plane: NDArray[np.uint8], extent: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(plane)).resize(extent, Image.Resampling.BICUBIC)


def _outline(box_xyxy_px: XYXY, origin: tuple[float, float], pixel: tuple[float, float]) -> XYXY:
    """A line around the box and not over it, for a picture with this origin and size of a pixel of the slice."""
    left, top, right, bottom = box_xyxy_px
    line = _BOX_LINE_PX * _OVERSAMPLING
    return (
        origin[0] + left * pixel[0] - line,
        origin[1] + top * pixel[1] - line,
        origin[0] + right * pixel[0] + line - 1,
        origin[1] + bottom * pixel[1] + line - 1,
    )


def _name_boxes(tile: Image.Image, boxes: Sequence[tuple[str, XYXY]]) -> None:
    """The name above each box, given in pixels before shrinking; below it where there is no room above."""
    draw = ImageDraw.Draw(tile)
    for name, box in boxes:
        left, top, _, bottom = (edge / _OVERSAMPLING for edge in box)
        y, anchor = (top - 2, "lb") if top > _BOX_NAME_PX else (bottom + 2, "lt")
        draw.text((left, y), name, BOX, _font(15), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _mark(tile: Image.Image, shown: Presentation, px_per_mm: float) -> None:
    """Orientation letters and the scale bar."""
    draw = ImageDraw.Draw(tile)
    opposite = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H"}
    middle, edge = TILE_PX // 2, 14
    for letter, place in (
        (shown.left_letter, (edge, middle)),
        (opposite[shown.left_letter], (TILE_PX - edge, middle)),
        (shown.top_letter, (middle, edge)),
    ):
        draw.text(place, letter, TEXT, _font(18), anchor="mm", stroke_width=2, stroke_fill=(0, 0, 0))
    length = SCALE_BAR_MM * px_per_mm
    right, bottom = TILE_PX - 12, TILE_PX - 12
    draw.line((right - length, bottom, right, bottom), TEXT, 2)
    for x in (right - length, right):
        draw.line((x, bottom - 4, x, bottom + 4), TEXT, 2)
    draw.text(
        (right - length / 2, bottom - 7), f"{SCALE_BAR_MM // 10} cm", TEXT, _font(14), anchor="mb", stroke_width=2,
        stroke_fill=(0, 0, 0),
    )  # fmt: skip


def _panel(draw: ImageDraw.ImageDraw, page: Page, span: tuple[int, int]) -> None:
    """The words, in a column given by its left edge and width."""
    left, width = span
    y = _GRID_TOP
    draw.rounded_rectangle((left, y, left + min(width, 380), y + 48), 8, page.outcome_colour)
    draw.text((left + min(width, 380) / 2, y + 24), page.outcome, BACKGROUND, _font(26), anchor="mm")
    y += 66
    for sentence in page.sentences:
        y = _paragraph(draw, sentence, (left, y), width, TEXT, 19) + 8
    if page.score is not None:
        y = _zones(draw, page.score, page.score_title, (left, y + 10)) + 16
    for label, colour in page.legend:
        draw.line((left, y + 10, left + 26, y + 10), colour, 3)
        draw.text((left + 36, y), label, TEXT, _font(16))
        y += 24
    y += 10
    for detail in page.details:
        y = _paragraph(draw, detail, (left, y), width, MUTED, 15) + 4


def _zones(draw: ImageDraw.ImageDraw, score: SeverityScore, title: str, origin: tuple[int, int]) -> int:
    """The zones as the lungs face the reader: right lung on the left."""
    left, y = origin
    draw.text((left, y), title, TEXT, _font(19))
    y += 30
    width, height = 150, 40
    names = [zone.name for zone in score.zones]
    sides = [side for side in ("right", "left") if any(name.startswith(side) for name in names)]
    for column, side in enumerate(sides):
        draw.text((left + 76 + column * width + width / 2, y), side, MUTED, _font(15), anchor="ma")
    y += 22
    for row, level in enumerate(("upper", "middle", "lower")):
        top = y + row * height
        draw.text((left, top + height / 2), level, MUTED, _font(15), anchor="lm")
        for column, side in enumerate(sides):
            zone = next((zone for zone in score.zones if zone.name == f"{side} {level}"), None)
            if zone is None:
                continue
            box = (left + 76 + column * width, top, left + 76 + (column + 1) * width - 4, top + height - 4)
            draw.rounded_rectangle(box, 5, _shade(zone.score))
            middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            draw.text(middle, f"{percent(zone.percent)}  ({zone.score})", TEXT, _font(17), anchor="mm")
    return y + 3 * height


def _shade(score: int) -> RGB:
    """From dark grey to burnt orange with the score of a zone, 0 to 4."""
    share = min(max(score, 0), 4) / 4
    low, high = (40, 44, 50), (196, 84, 20)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high, strict=True))
    return red, green, blue


def _paragraph(
    draw: ImageDraw.ImageDraw, text: str, origin: tuple[int, int], width: int, colour: RGB, size: int
) -> int:
    """Text broken at spaces to the width; where the next line would start."""
    left, y = origin
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and draw.textlength(longer, _font(size)) > width:
            draw.text((left, y), line, colour, _font(size))
            y += round(size * 1.35)
            longer = word
        line = longer
    draw.text((left, y), line, colour, _font(size))
    return y + round(size * 1.35)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
