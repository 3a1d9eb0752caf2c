"""The routing rules: which series a pipeline reads. Typed, frozen, read from ``config/pipelines.toml``.

Owns every rule with its meaning, and says all mistakes at once with their dotted paths. Knows no series; ``choice.py``
applies the rules. No rule fails a series for a label that scanners often leave out (body part, kernel,
slice thickness): an absent label decides nothing.
"""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import pydicom.uid
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dicom_node.errors import SettingsError

Pattern = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]*$")]
"""A glob, upper and lower case alike: ``*`` any text, ``?`` one character. No regular expressions: none can hang."""
Patterns = Annotated[tuple[Pattern, ...], Field(strict=False)]
Millimetres = Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
Criterion = Literal["coverage", "thickness", "kernel", "original"]


class _Section(BaseModel):
    """Frozen; strict about unknown keys and types ("5" is no number)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ImageTypeRule(_Section):
    """Image Type (0008,0008), all values."""

    required: Patterns = ()
    """Each has to match at least one value."""
    forbidden: Patterns = ()
    """None may match any value."""


class OrientationRule(_Section):
    """How the slices lie in the patient."""

    plane: Literal["axial", "coronal", "sagittal", "any"] = "axial"
    tolerance_deg: float = Field(default=30.0, ge=0, le=54, allow_inf_nan=False)
    """Angle between the slices' normal and the plane's. Above 54° one slice could be two planes."""


class ThicknessRule(_Section):
    """Slice Thickness (0018,0050); where it is absent, the distance between slices."""

    minimum: Millimetres | None = None
    maximum: Millimetres | None = None
    preferred: Millimetres = 1.5
    """Thinner series come first, down to this; thinner still is no better, only noisier."""

    @model_validator(mode="after")
    def _is_a_range(self) -> "ThicknessRule":
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}: no series fits")
        return self


class LabelRule(_Section):
    """A text label. A series fits where the label is empty, or some ``include`` matches; ``exclude`` wins."""

    include: Patterns = ()
    exclude: Patterns = ()


class KernelRule(_Section):
    """Convolution Kernel (0018,1210)."""

    preferred: Patterns = ()
    """In this order; other kernels come after them."""
    exclude: Patterns = ()


class PipelineRules(_Section):
    """Which series one pipeline reads, and which of several it reads first."""

    on_request: bool = False
    """Runs only where it is asked for by name."""
    modalities: Annotated[tuple[Pattern, ...], Field(strict=False, min_length=1)] = ("CT",)
    sop_classes: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = (
        "CTImageStorage",
        "EnhancedCTImageStorage",
        "LegacyConvertedEnhancedCTImageStorage",
    )
    """Keywords of PS3.6."""
    image_type: ImageTypeRule = ImageTypeRule()
    orientation: OrientationRule = OrientationRule()
    slice_thickness_mm: ThicknessRule = ThicknessRule()
    slice_distance_mm_maximum: Millimetres | None = None
    """Between the centres of neighbouring slices: what lies between is not seen at all."""
    slices_minimum: int = Field(default=10, ge=2, le=10_000)
    """For ``volumes.build_volume``. A series with fewer is tried only where there is no other."""
    coverage_enough_mm: Millimetres = 250.0
    """Longer series are no better: the whole organ is in."""
    body_part: LabelRule = LabelRule()
    """Body Part Examined (0018,0015)."""
    description: LabelRule = LabelRule()
    """Series Description (0008,103E). A match of ``include`` makes up for another body part; it is asked for only where
    ``body_part.include`` is empty."""
    kernel: KernelRule = KernelRule()
    contrast: Literal["any", "required", "forbidden"] = "any"
    """Contrast/Bolus Agent (0018,0010)."""
    prefer: Annotated[tuple[Criterion, ...], Field(strict=False)] = ("coverage", "thickness", "kernel", "original")
    """What counts first, second … where several series fit."""

    @field_validator("sop_classes")
    @classmethod
    def _are_sop_classes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if not isinstance(getattr(pydicom.uid, name, None), pydicom.uid.UID)]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no SOP Class keyword of PS3.6, e.g. CTImageStorage")
        return value

    @field_validator("prefer")
    @classmethod
    def _each_once(cls, value: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names a criterion twice")
        return value

    @property
    def sop_class_uids(self) -> frozenset[str]:
        """The UIDs that the keywords stand for."""
        return frozenset(str(getattr(pydicom.uid, name)) for name in self.sop_classes)


class Rules(_Section):
    """All pipelines, by name, in the order of the file."""

    pipelines: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")], PipelineRules] = Field(min_length=1)

    def minimum_slices(self, pipeline: str) -> int:
        """Fewest slices that a pipeline reads. Raises ``KeyError`` for a pipeline without rules."""
        return self.pipelines[pipeline].slices_minimum

    def automatic(self) -> "Rules":
        """Without the pipelines that run on request only. All of them stay where none is automatic."""
        chosen = {name: rules for name, rules in self.pipelines.items() if not rules.on_request}
        return Rules(pipelines=chosen or self.pipelines)

    def only(self, pipeline: str) -> "Rules":
        """The rules of one pipeline alone. Raises ``KeyError`` for a pipeline without rules."""
        return Rules(pipelines={pipeline: self.pipelines[pipeline]})

    def digest(self, pipeline: str) -> str:
        """SHA-256 (hex) of a pipeline's rules with all defaults filled in: changes when what it reads changes.

        Raises ``KeyError`` for a pipeline without rules.
        """
        read = self.pipelines[pipeline].model_dump(mode="json", exclude={"on_request"})
        normalised = json.dumps(read, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(normalised.encode("ascii")).hexdigest()


def load_rules(path: Path) -> Rules:
    """Read the rules. Raises ``SettingsError`` with every mistake, each with its dotted path."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read ({error.strerror})"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: not valid TOML ({error})"]) from error
    try:
        return Rules.model_validate(tree)
    except ValidationError as error:
        raise SettingsError([_mistake(item["loc"], item["msg"]) for item in error.errors()]) from error


def _mistake(location: tuple[int | str, ...], message: str) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return f"{path}: {message}" if path else message
