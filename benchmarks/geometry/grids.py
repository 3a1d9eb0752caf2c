"""The geometries: where each frame lies, how it is numbered, and which object it comes in.

Owns ``CASES``, the rows of the table. Conventions of PS3.3 C.7.6.2.1.1: LPS, mm, the centre of the first pixel.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

CENTRE_MM = (6.0, 4.0, 0.0)
"""Where the middle of every grid lies; off the phantom's own, so that no mirrored grid looks right by chance."""
HEAD_FIRST_SUPINE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class Form(Enum):
    """The objects that the frames come in."""

    SINGLE = "CT Image"
    """One instance a frame (PS3.3 A.3)."""
    ENHANCED = "Enhanced CT"
    """One instance for all frames (PS3.3 A.38.1)."""
    ENHANCED_PARTS = "Enhanced CT, 3 instances"
    """One series of three multi-frame instances, each a third of the frames; every functional group stands with the
    frame, where the other forms share what they can (PS3.3 C.7.6.16)."""
    LEGACY = "Legacy Converted"
    """One Legacy Converted Enhanced CT (PS3.3 A.70), as archives make them of CT Images."""


class Order(Enum):
    """How frames are numbered and sent. Frame 0 lies at the start of the normal, which is not always the feet."""

    ALONG = "along the normal"
    AGAINST = "against the normal"
    SHUFFLED = "at random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Parallel frames. ``orientation`` as Image Orientation (Patient)."""

    orientation: tuple[float, ...] = HEAD_FIRST_SUPINE
    spacing_mm: tuple[float, float] = (4.0, 4.0)
    """Between rows, between columns."""
    distance_mm: float = 6.5
    shape: tuple[int, int, int] = (46, 72, 88)
    """Slices, rows, columns."""
    shear_mm: float = 0.0
    """Every frame lies that much further along its columns than the one before: a tilted gantry."""
    left_out: tuple[int, ...] = ()
    """Frames that never arrive."""

    def positions_mm(self) -> NDArray[np.float64]:
        """Image Position (Patient) of every frame, shape (n, 3)."""
        slices, rows, columns = self.shape
        along_row, along_column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        normal = np.cross(along_row, along_column)
        corner = (
            np.array(CENTRE_MM)
            - along_row * self.spacing_mm[1] * (columns - 1) / 2
            - along_column * self.spacing_mm[0] * (rows - 1) / 2
        )
        steps = np.array([n for n in range(slices) if n not in self.left_out]) - (slices - 1) / 2
        return corner + np.outer(steps, normal * self.distance_mm + along_column * self.shear_mm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One study, a row of the table."""

    name: str
    grid: Grid
    form: Form = Form.SINGLE
    order: Order = Order.AGAINST
    patient_position: str = "HFS"
    position_decimals: int | None = None
    """Digits that a scanner writes of Image Position (Patient); ``None``: all."""
    repeats: bool = False
    """Every position twice, with other pixels."""
    refusal: str = ""
    """For geometries that the node has to refuse: words of its reason."""


def turned(*turns: tuple[str, float]) -> tuple[float, ...]:
    """Image Orientation (Patient) of axial slices after turns about patient axes, in degrees, one after another."""
    matrix = np.eye(3)
    for axis, degrees in turns:
        matrix = _turn(axis)(math.radians(degrees)) @ matrix
    return tuple(float(value) for value in matrix[:, :2].T.ravel())


def _turn(axis: str) -> Callable[[float], NDArray[np.float64]]:
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]

    def matrix(angle: float) -> NDArray[np.float64]:
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[second, first], turn[first, second] = math.sin(angle), -math.sin(angle)
        return turn

    return matrix


_OBLIQUE = turned(("x", 18.0))
_DOUBLY_OBLIQUE = turned(("z", 9.0), ("y", -13.0), ("x", 17.0))
_UNEQUAL_MM = (5.2, 3.1)

CASES: tuple[Case, ...] = (
    Case(name="axial, head first, supine", grid=Grid()),
    Case(name="axial, feet first, supine", grid=Grid(), patient_position="FFS"),
    Case(
        name="axial, feet first, seen from the head",
        grid=Grid(orientation=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),
        patient_position="FFS",
    ),
    Case(
        name="axial, head first, prone",
        grid=Grid(orientation=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)),
        patient_position="HFP",
    ),
    Case(
        name="axial, feet first, prone",
        grid=Grid(orientation=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0)),
        patient_position="FFP",
    ),
    Case(name="axial, on the right side", grid=Grid(orientation=turned(("z", 90.0))), patient_position="HFDR"),
    Case(name="reversed order", grid=Grid(), order=Order.ALONG),
    Case(name="order at random", grid=Grid(), order=Order.SHUFFLED),
    Case(name="oblique, 18°", grid=Grid(orientation=_OBLIQUE)),
    Case(name="oblique about all axes", grid=Grid(orientation=_DOUBLY_OBLIQUE), order=Order.SHUFFLED),
    Case(name="anisotropic", grid=Grid(spacing_mm=_UNEQUAL_MM, distance_mm=4.4, shape=(68, 60, 116))),
    Case(name="thin slices", grid=Grid(distance_mm=1.5, shape=(90, 72, 88))),
    Case(name="frames of no whole bytes", grid=Grid(shape=(46, 61, 83))),
    Case(name="positions written to 0.1 mm", grid=Grid(distance_mm=5.37, shape=(56, 72, 88)), position_decimals=1),
    Case(name="Enhanced CT", grid=Grid(), form=Form.ENHANCED),
    Case(name="Enhanced CT, reversed order", grid=Grid(), form=Form.ENHANCED, order=Order.ALONG),
    Case(
        name="Enhanced CT, oblique, anisotropic, at random",
        grid=Grid(orientation=_DOUBLY_OBLIQUE, spacing_mm=_UNEQUAL_MM, distance_mm=4.4, shape=(68, 60, 116)),
        form=Form.ENHANCED,
        order=Order.SHUFFLED,
    ),
    Case(name="Enhanced CT in three parts", grid=Grid(), form=Form.ENHANCED_PARTS, order=Order.SHUFFLED),
    Case(name="Legacy Converted Enhanced CT", grid=Grid(), form=Form.LEGACY),
    Case(name="gantry tilt", grid=Grid(shear_mm=1.8), refusal="gantry tilt"),
    Case(name="a slice is missing", grid=Grid(left_out=(20,)), refusal="gap"),
    Case(name="two pictures at each position", grid=Grid(), repeats=True, refusal="slice positions repeat"),
    Case(name="sagittal", grid=Grid(orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0)), refusal="sagittal"),
    Case(name="coronal", grid=Grid(orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0)), refusal="coronal"),
)
