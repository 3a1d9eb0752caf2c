"""A series in, an inference volume out, or the reason why not.

Owns the steps and their order: which instances are slices, common attributes, geometry, then pixels. Compressed frames
are decoded in processes of their own; threads wait for them and write straight into the one int16 array.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

from dicom_node.errors import NodeError, NotAnalysable
from dicom_node.headers.facts import MULTI_FRAME_CT, SINGLE_FRAME_CT
from dicom_node.records import FrameGeometry, FrameSource, Series, StoredInstance
from dicom_node.spool.salvage import is_intact
from dicom_node.volumes.decode import Pixels, UndecodablePixels
from dicom_node.volumes.decode_pool import DecodePool
from dicom_node.volumes.geometry import Slice, Stack, repeated_positions, stack
from dicom_node.volumes.stored_pixels import StoredPixels, read_stored_pixels
from inference.volume import HU_AIR, Volume

MINIMUM_SLICES = 10
"""Fewer say nothing about a chest: 10 slices of 5 mm are 5 cm. Routing rules ask for more."""
MAXIMUM_VOXELS = 2**31
"""4 GiB of int16: eight times 1000 slices of 512². A header can claim 65535² without a byte behind it."""
_LOCALIZER = "LOCALIZER"
_HIGHEST_HU = 32767
"""Of int16; metal and extended CT scales reach 30,000 HU."""
_CT = SINGLE_FRAME_CT | MULTI_FRAME_CT


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesVolume:
    """A volume, and which instance and frame each of its slices came from.

    ``sources[k]`` belongs to ``volume.array_zyx[k]``.
    """

    volume: Volume
    sources: tuple[FrameSource, ...]


def build_volume(
    series: Series, *, decoders: DecodePool | None = None, minimum_slices: int = MINIMUM_SLICES
) -> SeriesVolume:
    """Hounsfield units on the grid that the slices span, decoded by ``decoders`` (a pool for this volume by default).

    Raises ``NotAnalysable`` with the first thing that is wrong, in words for the person who runs the archive, and
    ``ResourceExhausted`` where the machine has no room for a decoder.
    """
    if decoders is None:
        with DecodePool() as pool:
            return build_volume(series, decoders=pool, minimum_slices=minimum_slices)
    instances = _slice_instances(series)
    _refuse_mixed(instances)
    slices = [
        Slice(source=_source(instance, number), geometry=geometry)
        for instance in instances
        for number, geometry in enumerate(instance.facts.frames, start=1)
    ]
    _refuse_too_large(instances, len(slices))
    with ThreadPoolExecutor(max_workers=decoders.workers, thread_name_prefix="decode") as threads:
        ordered = stack(_without_copies(slices))
        if len(ordered.slices) < minimum_slices:
            raise NotAnalysable(f"only {len(ordered.slices)} slices; the pipeline needs at least {minimum_slices}")
        _refuse_unscaled(ordered)
        try:
            array = _filled(ordered, instances, threads, decoders)
        finally:
            threads.shutdown(cancel_futures=True)
    volume = Volume(
        array_zyx=array,
        index_to_patient=ordered.index_to_patient,
        frame_of_reference_uid=instances[0].facts.frame_of_reference_uid,
    )
    return SeriesVolume(volume=volume, sources=tuple(each.source for each in ordered.slices))


def _slice_instances(series: Series) -> tuple[StoredInstance, ...]:
    """The CT images of the series in a fixed order; dose pages and localizers in it are no slices."""
    images = [each for each in series.instances if UID(each.facts.sop_class_uid) in _CT]
    if not images:
        raise NotAnalysable("no CT images in the series")
    slices = [each for each in images if _LOCALIZER not in each.facts.image_type]
    if not slices:
        raise NotAnalysable("localizer: a survey picture, not slices")
    without = [each for each in slices if not each.facts.frames]
    if without:
        raise NotAnalysable(f"instance {without[0].facts.sop_instance_uid} has no picture or no geometry of its frames")
    return tuple(sorted(slices, key=lambda each: each.facts.sop_instance_uid))


def _refuse_mixed(instances: Sequence[StoredInstance]) -> None:
    sizes = {(each.facts.rows, each.facts.columns) for each in instances}
    if len(sizes) > 1:
        named = ", ".join(f"{rows}×{columns}" for rows, columns in sorted(sizes, key=str))
        raise NotAnalysable(f"mixed picture sizes within the series: {named}")
    references = {each.facts.frame_of_reference_uid for each in instances}
    if len(references) > 1:
        raise NotAnalysable(
            f"mixed Frames of Reference: the slices come from {len(references)} positionings of the patient"
        )


def _shape(instances: Sequence[StoredInstance], slices: int) -> tuple[int, int, int]:
    return slices, instances[0].facts.rows or 0, instances[0].facts.columns or 0


def _refuse_too_large(instances: Sequence[StoredInstance], slices: int) -> None:
    _, rows, columns = _shape(instances, slices)
    if rows * columns * slices > MAXIMUM_VOXELS:
        raise NotAnalysable(f"too large: {slices} slices of {rows}×{columns}")


def _refuse_unscaled(ordered: Stack) -> None:
    missing = sum(
        1 for each in ordered.slices if each.geometry.rescale_slope is None or each.geometry.rescale_intercept is None
    )
    if missing:
        raise NotAnalysable(
            f"Rescale Slope or Intercept is missing in {missing} of {len(ordered.slices)} slices: "
            "stored values cannot be turned into Hounsfield units"
        )
    if any((each.geometry.rescale_slope or 0) <= 0 for each in ordered.slices):
        raise NotAnalysable("Rescale Slope is zero or negative")


def _without_copies(slices: Sequence[Slice]) -> list[Slice]:
    """Drop slices that repeat another one, pixels included, under a UID of their own.

    Slices with other pixels at the same place stay; the geometry refuses them.
    """
    copies: set[int] = set()
    for group in repeated_positions(slices):
        seen: set[tuple[float | None, float | None, bytes]] = set()
        for each in group:
            pixels = read_stored_pixels(each.source.file, each.source.sop_instance_uid)
            encoded = (
                pixels.frame(each.source.frame_number - 1) if each.source.frame_number <= len(pixels.frames) else b""
            )
            key = (each.geometry.rescale_slope, each.geometry.rescale_intercept, encoded)
            if key in seen:
                copies.add(id(each))
            seen.add(key)
    return [each for each in slices if id(each) not in copies]


def _filled(
    ordered: Stack, instances: Sequence[StoredInstance], threads: ThreadPoolExecutor, decoders: DecodePool
) -> NDArray[np.int16]:
    used = {each.source.file: each.source.sop_instance_uid for each in ordered.slices}
    described = dict(zip(used, threads.map(read_stored_pixels, used.keys(), used.values()), strict=True))
    for instance in instances:
        if instance.file in described:
            _refuse_damaged(instance)
            _refuse_other_frames(described[instance.file], instance)
    array = np.empty(_shape(instances, len(ordered.slices)), dtype=np.int16)

    broken = threading.Event()

    def fill(index: int) -> None:
        if broken.is_set():
            return  # the study has its reason; another hostile frame would only take its time again
        each = ordered.slices[index]
        try:
            _decode_into(array[index], described[each.source.file], each, decoders)
        except NodeError:
            broken.set()
            raise

    for _ in threads.map(fill, range(len(ordered.slices))):
        pass
    return array


def _refuse_damaged(instance: StoredInstance) -> None:
    """Uncompressed pixels that a disk has changed look like any others."""
    if not is_intact(instance):
        raise NotAnalysable(
            f"instance {instance.facts.sop_instance_uid} is damaged on the disk of the node: have it sent again"
        )


def _refuse_other_frames(pixels: StoredPixels, instance: StoredInstance) -> None:
    """A header may describe fewer frames than there are (or more), and a file may have changed since it was read."""
    facts = instance.facts
    if (len(pixels.frames), pixels.layout.rows, pixels.layout.columns) != (
        len(facts.frames),
        facts.rows,
        facts.columns,
    ):
        raise NotAnalysable(
            f"instance {facts.sop_instance_uid} holds {len(pixels.frames)} frames, but describes the geometry of "
            f"{len(facts.frames)}"
        )


def _decode_into(target: NDArray[np.int16], pixels: StoredPixels, each: Slice, decoders: DecodePool) -> None:
    try:
        with decoders.frame(pixels, each.source.frame_number - 1) as stored:
            to_hounsfield(stored, each.geometry, pixels.padding, target)
    except (UndecodablePixels, OSError) as error:
        reason = str(error) if isinstance(error, UndecodablePixels) else "the file cannot be read"
        raise NotAnalysable(
            f"pixel data of instance {each.source.sop_instance_uid} cannot be decoded: {reason}"
        ) from error


def to_hounsfield(
    stored: Pixels, geometry: FrameGeometry, padding: tuple[int, int] | None, target: NDArray[np.int16]
) -> None:
    """Write one slice in Hounsfield units: stored value × slope + intercept, rounded (PS3.3 C.11.1.1.2).

    Padding, and whatever lies below air (scanners fill the corners with -2000 or -3024), becomes ``HU_AIR``.
    """
    slope, intercept = geometry.rescale_slope, geometry.rescale_intercept
    if slope is None or intercept is None:
        raise AssertionError("slices without rescale are refused before they are decoded")
    if slope == 1 and intercept.is_integer() and abs(intercept) < _HIGHEST_HU:
        exact = stored.astype(np.int32)
        exact += int(intercept)
        np.clip(exact, HU_AIR, _HIGHEST_HU, out=exact)
        target[...] = exact
    else:
        scaled = stored.astype(np.float32)
        scaled *= np.float32(slope)
        scaled += np.float32(intercept)
        np.clip(np.rint(scaled, out=scaled), HU_AIR, _HIGHEST_HU, out=scaled)
        target[...] = scaled
    if padding is not None:
        lowest, highest = padding
        if max(lowest * slope + intercept, highest * slope + intercept) > HU_AIR:
            target[(stored >= lowest) & (stored <= highest)] = HU_AIR


def _source(instance: StoredInstance, frame_number: int) -> FrameSource:
    return FrameSource(
        sop_instance_uid=instance.facts.sop_instance_uid,
        sop_class_uid=instance.facts.sop_class_uid,
        frame_number=frame_number,
        file=instance.file,
    )
