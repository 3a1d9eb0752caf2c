"""CT numbers of one slice: tissues painted over each other, from the air outside to the airways.

Owns what each tissue looks like. Organs and chest wall are painted on a coarser grid and enlarged; lungs,
lesions, vessels and airways at full resolution, where a network looks for its signs.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.phantoms.anatomy import BACK_DEEPER, Anatomy
from inference.phantoms.fields import Array, Grid, NoiseField, ellipse, ellipsoid, intersection
from inference.phantoms.lesions import Lesions
from inference.phantoms.scanner import Scanner
from inference.phantoms.trees import Segments, Trees

AIR_HU, FAT_HU, MUSCLE_HU, BLOOD_HU, LIVER_HU, SPLEEN_HU = -1000.0, -105.0, 48.0, 42.0, 58.0, 47.0
MARROW_HU, CORTEX_HU, CARTILAGE_HU, DISC_HU, SKIN_HU = 170.0, 820.0, 95.0, 75.0, 15.0
AIRWAY_WALL_HU = -80.0
GROUND_GLASS_HU = (-650.0, -330.0)
"""From barely to densest opaque, without consolidation."""
CONSOLIDATION_HU = 15.0
RETICULATION_HU = 110.0
"""How much denser thickened septa are than the ground glass between them."""
GRAVITY_HU_PER_MM = 0.35
"""Lungs are denser at the back of a patient who lies on it."""
CARTILAGE_RAD = 2.55
"""Angle from the spine beyond which ribs are cartilage (π: breastbone)."""
COARSE_PX = 320
"""Largest grid on which organs and chest wall are painted."""
_OVERSAMPLING = 2
"""Tubes are drawn finer than the picture and averaged, which gives their partial volume."""
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PaintedSlice:
    """True CT numbers (float32) and the truth (bool) of one slice."""

    hu: Array
    left_lung: NDArray[np.bool_]
    right_lung: NDArray[np.bool_]
    infected: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlicePainter:
    """Paints the slices of one patient. ``thickness_mm``: what a slice averages along the patient."""

    anatomy: Anatomy
    trees: Trees
    lesions: Lesions
    scanner: Scanner
    texture: NoiseField
    septa: NoiseField
    thickness_mm: float

    def paint(self, z: float) -> PaintedSlice:
        """The slice whose centre lies at ``z`` mm."""
        grid = self._grid(min(self.scanner.size_px, COARSE_PX))
        distances = [self._enlarged(distance) for distance in self.anatomy.lungs(grid.x, grid.y, z)]
        share = np.clip(0.5 - np.minimum(*distances) / np.float32(0.9), 0, 1)
        lesions = self.lesions.at(grid.x, grid.y, z)
        ground_glass, consolidation = self._enlarged(lesions.ground_glass), self._enlarged(lesions.consolidation)
        lung = self._lung(grid, z, ground_glass, self._enlarged(lesions.opacity), consolidation)

        vessels = self.tubes(self.trees.vessels, z, widen_mm=0.0) * share
        lung += vessels * (BLOOD_HU - lung)
        hu = self._enlarged(self._surroundings(grid, z))
        hu = hu + share * (lung - hu)
        beside_heart = np.clip(self._enlarged(self.anatomy.heart_surface(grid.x, grid.y, z)), 0, 1)
        hu += beside_heart * self.tubes(self.trees.airways, z, widen_mm=0.5) * (AIRWAY_WALL_HU - hu)
        hu += beside_heart * self.tubes(self.trees.airways, z, widen_mm=0.0) * (AIR_HU - hu)

        left, right = (distance < 0 for distance in distances)
        diseased = (ground_glass > 0.5) | (consolidation > 0.5)
        return PaintedSlice(hu=hu, left_lung=left, right_lung=right, infected=diseased & (left | right))

    def wobble_at(self, z: float) -> Array:
        """Slow noise over the whole picture, of standard deviation 1."""
        grid = self._grid(COARSE_PX // 4)
        return self._enlarged(self.anatomy.wobble.at(grid.x, grid.y, z))

    def _grid(self, pixels: int) -> Grid:
        return Grid.covering(width_mm=self.scanner.field_of_view_mm, centre_mm=self.scanner.centre_mm, pixels=pixels)

    def _enlarged(self, values: Array) -> Array:
        size = (self.scanner.size_px, self.scanner.size_px)
        return cv2.resize(values.astype(np.float32, copy=False), size, interpolation=cv2.INTER_LINEAR).astype(
            np.float32, copy=False
        )

    def _lung(self, grid: Grid, z: float, ground_glass: Array, opacity: Array, consolidation: Array) -> Array:
        """Parenchyma with its lesions, as if it filled the picture."""
        texture = self._enlarged(self.texture.at(grid.x, grid.y, z))
        full = self._grid(self.scanner.size_px)
        lung: Array = self.anatomy.parenchyma_hu + GRAVITY_HU_PER_MM * full.y + 9.0 * texture
        faint, dense = GROUND_GLASS_HU
        opaque = faint + (dense - faint) * opacity + 30.0 * texture + RETICULATION_HU * self._septa(grid, z)
        lung += ground_glass * (opaque - lung)
        solid = CONSOLIDATION_HU + 12.0 * texture
        mixed: Array = lung + consolidation * (solid - lung)
        return mixed

    def _septa(self, grid: Grid, z: float) -> Array:
        """Thickened septa, which ground glass makes visible: thin sheets where a noise field changes its sign."""
        field = self.septa.at(grid.x, grid.y, z)
        return self._enlarged(np.clip(1 - np.abs(field) / np.float32(0.22), 0, 1))

    def tubes(self, tubes: Segments, z: float, *, widen_mm: float) -> Array:
        """Share of each pixel that tubes fill, averaged over the slice's thickness."""
        half_mm, radii = self.thickness_mm / 2, tubes.radii_mm + widen_mm
        z_ends = tubes.ends_mm[:, :, 2]
        near = (z_ends.min(axis=1) - radii < z + half_mm) & (z_ends.max(axis=1) + radii > z - half_mm)
        starts, ends = _clipped(tubes.ends_mm[near], z - half_mm, z + half_mm)
        radii = radii[near]
        length = np.linalg.norm(ends - starts, axis=1)
        across = np.linalg.norm((ends - starts)[:, :2], axis=1)
        chord_mm = np.where(length < radii, 1.6 * radii, 2 * radii * length / np.maximum(across, 2 * radii))
        cell_mm = self.scanner.pixel_mm / _OVERSAMPLING
        width = np.maximum(1, np.rint(2 * radii / cell_mm))
        filled = np.minimum(1, chord_mm / self.thickness_mm) * np.minimum(1, 2 * radii / (width * cell_mm))

        canvas = np.zeros((self.scanner.size_px * _OVERSAMPLING,) * 2, np.uint8)
        corner = np.array(self.scanner.first_pixel_mm) - (self.scanner.pixel_mm - cell_mm) / 2
        ends_px = np.stack([starts, ends], axis=1)[:, :, :2]
        ends_px = np.rint((ends_px - corner) / cell_mm * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        for index in np.argsort(filled, kind="stable"):
            start, end = ends_px[index].tolist()
            shade = round(255 * float(filled[index]))
            cv2.line(canvas, start, end, shade, int(width[index]), cv2.LINE_AA, _SUBPIXEL_BITS)
        small = cv2.resize(canvas, (self.scanner.size_px,) * 2, interpolation=cv2.INTER_AREA)
        share: Array = small.astype(np.float32) / 255.0
        return share

    def _surroundings(self, grid: Grid, z: float) -> Array:
        """Everything but the lungs."""
        x, y, body = grid.x, grid.y, self.anatomy
        skin = body.body(x, y, z)
        hu = np.full(skin.shape, AIR_HU, np.float32)
        self._table(hu, grid)
        cage = body.cage(x, y, z)
        streaks = self.texture.at(x * np.float32(0.5), y * np.float32(0.5), z)
        _over(hu, skin, SKIN_HU)
        _over(hu, skin + 2.0, FAT_HU)
        _over(hu, skin + body.fat_mm * (1 + 0.25 * body.wobble.at(x, y, z)), MUSCLE_HU - 14.0 * streaks)
        _over(hu, cage - 1.5, FAT_HU)
        self._abdomen(hu, grid, z, cage)
        self._mediastinum(hu, grid, z, cage)
        self._bones(hu, grid, z, cage)
        return hu

    def _table(self, hu: Array, grid: Grid) -> None:
        body = self.anatomy
        top = body.size * 90.0 * BACK_DEEPER + body.wall_mm + 3.0 - 0.0009 * grid.x**2
        bottom = top + 22.0 - 0.0004 * grid.x**2
        table = np.maximum(top - grid.y, grid.y - bottom)
        _over(hu, table, -620.0)
        _over(hu, table + 2.2, -930.0)

    def _abdomen(self, hu: Array, grid: Grid, z: float, cage: Array) -> None:
        """Liver, spleen, stomach and bowel under the diaphragm, with gas that is not lung."""
        x, y = grid.x, grid.y
        under = intersection(self.anatomy.diaphragm(x, y, z), cage + 1.0)
        if under.min() > 0:
            return
        _over(hu, under, FAT_HU)
        liver = ellipsoid(x, y, z, centre=(-52.0, -8.0, -112.0), radii=(88.0, 86.0, 90.0))
        _over(hu, intersection(liver, under + 2.0), LIVER_HU)
        spleen = ellipsoid(x, y, z, centre=(84.0, 40.0, -112.0), radii=(34.0, 46.0, 52.0))
        _over(hu, intersection(spleen, under + 2.0), SPLEEN_HU)
        stomach = intersection(ellipsoid(x, y, z, centre=(58.0, -20.0, -112.0), radii=(48.0, 50.0, 50.0)), under + 2.0)
        _over(hu, stomach, MUSCLE_HU)
        _over(hu, stomach + 3.0, 22.0)
        _over(hu, intersection(stomach + 3.0, y + 26.0 + 0.0 * x), AIR_HU)
        for centre in ((96.0, -20.0, -146.0), (20.0, -58.0, -156.0), (-70.0, -62.0, -165.0)):
            bowel = intersection(ellipsoid(x, y, z, centre=centre, radii=(24.0, 17.0, 20.0)), under + 2.0)
            _over(hu, bowel, MUSCLE_HU)
            _over(hu, bowel + 2.0, AIR_HU + 60.0)

    def _mediastinum(self, hu: Array, grid: Grid, z: float, cage: Array) -> None:
        """Heart and great vessels in fat."""
        x, y, body = grid.x, grid.y, self.anatomy
        above = intersection(cage + 2.0, -body.diaphragm(x, y, z))
        heart = body.heart_surface(x, y, z)
        _over(hu, intersection(heart, cage + 3.0, -body.diaphragm(x, y, z) - 12.0), FAT_HU)
        _over(hu, intersection(heart + 4.0, cage + 5.0, -body.diaphragm(x, y, z) - 12.0), BLOOD_HU)
        _over(hu, body.descending_aorta(x, y, z), BLOOD_HU)
        _over(hu, ellipse(x, y, centre=(5.0, 24.0), radii=(8.0, 6.0)), MUSCLE_HU - 15.0)
        _over(hu, intersection(body.spine(x, y), above), MUSCLE_HU)
        for centre, radius, low, high in (
            ((-24.0, -10.0), 9.0, -10.0, 85.0),  # superior vena cava
            ((-9.0, -22.0), 15.0, -12.0, body.carina_z_mm + 14.0),  # ascending aorta
            ((19.0, -24.0), 13.0, -12.0, body.carina_z_mm - 6.0),  # pulmonary trunk
            ((-12.0, -14.0), 6.5, body.carina_z_mm + 26.0, 200.0),  # arteries and veins of the neck
            ((10.0, -10.0), 5.0, body.carina_z_mm + 26.0, 200.0),
            ((20.0, 2.0), 5.0, body.carina_z_mm + 26.0, 200.0),
            ((22.0, -22.0), 7.0, body.carina_z_mm + 30.0, 200.0),
        ):
            if low < z < high:
                _over(hu, ellipse(x, y, centre=centre, radii=(radius, radius)), BLOOD_HU)
        _over(hu, ellipsoid(x, y, z, centre=(14.0, 8.0, body.carina_z_mm + 20.0), radii=(17.0, 36.0, 13.0)), BLOOD_HU)
        for centre3 in ((-34.0, 6.0, body.carina_z_mm - 20.0), (34.0, 9.0, body.carina_z_mm - 14.0)):
            _over(hu, ellipsoid(x, y, z, centre=centre3, radii=(15.0, 12.0, 22.0)), BLOOD_HU)

    def _bones(self, hu: Array, grid: Grid, z: float, cage: Array) -> None:
        x, y, body = grid.x, grid.y, self.anatomy
        angle = np.arctan2(np.abs(x), y)  # 0 at the spine, π at the breastbone
        along = (z - body.rib_phase_mm + 72.0 * (1 - np.cos(angle)) / 2) % 25.0 - 12.5
        rib = ((np.hypot(along / 6.5, (cage - 6.5) / 4.0) - 1) * 4.0).astype(np.float32, copy=False)
        _over(hu, rib, np.where(angle > CARTILAGE_RAD, CARTILAGE_HU, CORTEX_HU).astype(np.float32))
        _over(hu, rib + 1.5, np.where(angle > CARTILAGE_RAD, CARTILAGE_HU, MARROW_HU).astype(np.float32))
        if -75.0 < z < 92.0:
            _bone(hu, ellipse(x, y, centre=(0.0, body.front_y_mm(z) - 7.0), radii=(17.0, 5.5)))
        vertebra_y = body.vertebra_y_mm
        vertebra = ellipse(x, y, centre=(0.0, vertebra_y), radii=(17.0, 13.0))
        if (z - body.rib_phase_mm) % 25.0 < 5.0:
            _over(hu, vertebra, DISC_HU)
        else:
            _bone(hu, vertebra)
        canal_y = vertebra_y + 21.0
        _bone(hu, ellipse(x, y, centre=(0.0, canal_y + 1.0), radii=(15.0, 12.0)))
        _over(hu, ellipse(x, y, centre=(0.0, canal_y), radii=(8.5, 8.5)), 20.0)
        _bone(hu, ellipse(x, y, centre=(0.0, canal_y + 21.0), radii=(4.0, 13.0)))
        for side in (-1.0, 1.0):
            _bone(hu, ellipse(x, y, centre=(side * 27.0, canal_y + 5.0), radii=(13.0, 4.5)))
            if -20.0 < z < 110.0:
                blade = (side * 98.0 * body.size, 72.0 * body.size, 45.0)
                _bone(hu, ellipsoid(x, y, z, centre=blade, radii=(40.0, 4.0, 70.0), tilt=-side * 0.75))
            if z > 70.0:
                collar = (side * 58.0, body.front_y_mm(z) - 8.0, 100.0)
                _bone(hu, ellipsoid(x, y, z, centre=collar, radii=(50.0, 6.0, 7.0), tilt=side * 0.3))


def _over(hu: Array, distance: Array, value: Array | float) -> None:
    """Paint ``value`` where the distance is negative, with an edge of about a millimetre."""
    share = np.clip(0.5 - distance, 0, 1)
    hu += share * (value - hu)


def _bone(hu: Array, distance: Array) -> None:
    _over(hu, distance, CORTEX_HU)
    _over(hu, distance + 1.6, MARROW_HU)


def _clipped(
    ends_mm: NDArray[np.float64], low_mm: float, high_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The parts of the segments between two heights; one outside shrinks to its nearer end."""
    start, end = ends_mm[:, 0], ends_mm[:, 1]
    rise = end[:, 2] - start[:, 2]
    rise = np.where(np.abs(rise) < 1e-6, 1e-6, rise)
    at = np.clip((np.array([[low_mm], [high_mm]]) - start[:, 2]) / rise, 0, 1)  # (2, pieces)
    first, last = at.min(axis=0)[:, None], at.max(axis=0)[:, None]
    return start + first * (end - start), start + last * (end - start)
