"""The typed header facts of an instance (PS3.3 A.3 CT, A.38 Enhanced CT, A.70 Legacy Converted Enhanced CT).

Owns which attributes the node's decisions need and where each class of object keeps them. What is absent or malformed
becomes ``None`` or empty; only an instance without valid UIDs, or without a readable structure, is refused.
"""

import struct
from dataclasses import replace
from typing import Final, cast

from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from dicom_node.errors import InstanceRefused, StoreStatus
from dicom_node.headers.elements import PIXEL_DATA_TAGS, Element, ElementWalk, Encoded, MalformedDataSet
from dicom_node.headers.part10 import EncodedDataSet, data_set_from_start, data_set_from_wire, open_part10
from dicom_node.headers.pixel_size import PIXEL_SIZE_TAGS, check_pixel_size
from dicom_node.headers.values import Values, text_encoding
from dicom_node.records import FrameGeometry, InstanceFacts, Part10File

MAXIMUM_FRAMES = 10_000
"""Of one multi-frame image: twice the longest CT acquisition we know of (spectral, cardiac)."""
SINGLE_FRAME_CT = frozenset({CTImageStorage})
MULTI_FRAME_CT = frozenset({EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})

_CHARACTER_SET = 0x00080005
_IMAGE_TYPE = 0x00080008
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_MODALITY = 0x00080060
_SERIES_DESCRIPTION = 0x0008103E
_CODE_MEANING = 0x00080104
_CONTRAST_AGENT = 0x00180010
_CONTRAST_AGENT_SEQUENCE = 0x00180012
_BODY_PART = 0x00180015
_SLICE_THICKNESS = 0x00180050
_GANTRY_TILT = 0x00181120
_KERNEL = 0x00181210
_STUDY_UID = 0x0020000D
_SERIES_UID = 0x0020000E
_SERIES_NUMBER = 0x00200011
_INSTANCE_NUMBER = 0x00200013
_POSITION = 0x00200032
_ORIENTATION = 0x00200037
_FRAME_OF_REFERENCE_UID = 0x00200052
_ROWS = 0x00280010
_COLUMNS = 0x00280011
_PIXEL_SPACING = 0x00280030
_BURNED_IN = 0x00280301
_RESCALE_INTERCEPT = 0x00281052
_RESCALE_SLOPE = 0x00281053
_PLANE_POSITION = 0x00209113
_PLANE_ORIENTATION = 0x00209116
_PIXEL_MEASURES = 0x00289110
_PIXEL_VALUE_TRANSFORMATION = 0x00289145
_CT_RECONSTRUCTION = 0x00189314
_FRAME_ANATOMY = 0x00209071
_ANATOMIC_REGION = 0x00082218
_SHARED_GROUPS = 0x52009229
_PER_FRAME_GROUPS = 0x52009230

_TOP_LEVEL = frozenset(
    {
        _CHARACTER_SET, _IMAGE_TYPE, _SOP_CLASS_UID, _SOP_INSTANCE_UID, _MODALITY, _SERIES_DESCRIPTION,
        _CONTRAST_AGENT, _CONTRAST_AGENT_SEQUENCE, _BODY_PART, _SLICE_THICKNESS, _GANTRY_TILT, _KERNEL, _STUDY_UID,
        _SERIES_UID, _SERIES_NUMBER, _INSTANCE_NUMBER, _POSITION, _ORIENTATION, _FRAME_OF_REFERENCE_UID, _ROWS,
        _COLUMNS, _PIXEL_SPACING, _BURNED_IN, _RESCALE_INTERCEPT, _RESCALE_SLOPE, _SHARED_GROUPS, _PER_FRAME_GROUPS,
    }
)  # fmt: skip
_TOP_LEVEL_AND_PIXELS = _TOP_LEVEL | PIXEL_SIZE_TAGS
_GEOMETRY_GROUPS = frozenset({_PLANE_POSITION, _PLANE_ORIENTATION, _PIXEL_MEASURES, _PIXEL_VALUE_TRANSFORMATION})
_GROUPS = _GEOMETRY_GROUPS | {_CT_RECONSTRUCTION, _FRAME_ANATOMY}
_SEQUENCES = frozenset({_CONTRAST_AGENT_SEQUENCE, _SHARED_GROUPS, _PER_FRAME_GROUPS})
_OWN = frozenset({_SOP_INSTANCE_UID, _INSTANCE_NUMBER, _POSITION})
"""What differs from image to image of a series."""
REMEMBERED_SERIES = 256
REMEMBERED_VALUE_BYTES = 256
"""Of one value; a longer one is not remembered, so hostile values take a few megabytes at most, of all series."""


def read_instance_facts(file: Part10File, *, whole: bool = False) -> InstanceFacts:
    """The facts of a Part 10 file; its pixel data is not touched, unless the ``whole`` file has to be sound.

    Raises ``InstanceRefused`` for what is no readable DICOM instance, ``OSError`` where the file cannot be opened.
    """
    with open_part10(file) as data_set:
        return _facts(data_set, to_end=whole)


def facts_from_data_set(encoded: Encoded, transfer_syntax_uid: str, *, start: int = 0) -> InstanceFacts:
    """The facts of the data set ``encoded[start:]`` as it came over the wire, walked to its end.

    What is accepted is whole, pixel data included. Raises ``InstanceRefused``.
    """
    return _facts(data_set_from_wire(encoded, transfer_syntax_uid, start=start), to_end=True)


def facts_from_start(first: bytes, size_bytes: int, transfer_syntax_uid: str) -> InstanceFacts | None:
    """The same of a data set of which only the ``first`` bytes are at hand; ``None`` where they do not suffice.

    They do for most images: nothing behind the head of uncompressed pixel data has to be looked at.
    """
    data_set = data_set_from_start(first, size_bytes, transfer_syntax_uid)
    if data_set is None:
        return None
    try:
        return _facts(data_set, to_end=True)
    except struct.error:
        return None


def _facts(data_set: EncodedDataSet, *, to_end: bool) -> InstanceFacts:
    walk = data_set.walk()
    try:
        found = data_set.find(walk, _TOP_LEVEL_AND_PIXELS if to_end else _TOP_LEVEL, to_end=to_end)
        if data_set.stop > len(data_set.encoded):
            _require_at_hand(found, len(data_set.encoded))
        common = _common_values(walk, found, data_set.transfer_syntax_uid) if to_end else None
        if common is not None and (sibling := _siblings.get(common)) is not None:
            return _like(sibling, Values(walk, found))
        if to_end:
            check_pixel_size(walk, found, data_set.transfer_syntax_uid)
        facts = _facts_of(walk, found, data_set.transfer_syntax_uid)
    except MalformedDataSet as error:
        raise InstanceRefused(StoreStatus.CANNOT_UNDERSTAND, f"damaged: {error}"[:64]) from error
    if common is not None:
        if len(_siblings) >= REMEMBERED_SERIES:
            _siblings.clear()
        _siblings[common] = facts
    return facts


def _require_at_hand(found: dict[int, Element], end: int) -> None:
    """Raise ``struct.error`` where a value that will be read lies behind the bytes that are there."""
    if any(element.stop > end for tag, element in found.items() if tag not in PIXEL_DATA_TAGS):
        raise struct.error


# The images of a series differ in a few values, and making facts of the others takes longer than comparing them.

_siblings: Final[dict[tuple[object, ...], InstanceFacts]] = {}
"""Facts of one image, by what its siblings have in common with it."""


def _common_values(walk: ElementWalk, found: dict[int, Element], transfer_syntax_uid: str) -> tuple[object, ...] | None:
    """All that facts and pixel size depend on, but for what ``_like`` takes anew; ``None`` where that is not so simple:
    sequences, fragments, long values."""
    if not _SEQUENCES.isdisjoint(found):
        return None
    common: list[object] = [transfer_syntax_uid]
    for tag, element in found.items():
        size = element.stop - element.start
        common.append(tag)
        if tag in PIXEL_DATA_TAGS:
            if element.undefined_length:
                return None
            common.append(size)
        elif tag not in _OWN:
            if size > REMEMBERED_VALUE_BYTES:
                return None
            common.append(walk.encoded[element.start : element.stop])
    return tuple(common)


def _like(sibling: InstanceFacts, top: Values) -> InstanceFacts:
    position = cast("tuple[float, float, float] | None", top.decimals(_POSITION, 3))
    return replace(
        sibling,
        sop_instance_uid=_sop_instance_uid(top),
        instance_number=top.integer(_INSTANCE_NUMBER),
        frames=tuple(replace(frame, position_mm=position) for frame in sibling.frames),
    )


def _facts_of(walk: ElementWalk, found: dict[int, Element], transfer_syntax_uid: str) -> InstanceFacts:
    top = Values(walk, found, text_encoding=text_encoding(Values(walk, found).codes(_CHARACTER_SET)))
    sop_class_uid = _required_uid(top, _SOP_CLASS_UID, "SOP Class UID")
    shared = top.first_item(_SHARED_GROUPS, _GROUPS)
    first = top.first_item(_PER_FRAME_GROUPS, _GROUPS)
    reconstruction = _common_macro(shared, first, _CT_RECONSTRUCTION, _KERNEL)
    measures = _common_macro(shared, first, _PIXEL_MEASURES, _SLICE_THICKNESS)
    frames = _frames(top, shared, sop_class_uid)
    return InstanceFacts(
        sop_instance_uid=_sop_instance_uid(top),
        sop_class_uid=sop_class_uid,
        study_uid=_required_uid(top, _STUDY_UID, "Study Instance UID"),
        series_uid=_required_uid(top, _SERIES_UID, "Series Instance UID"),
        transfer_syntax_uid=transfer_syntax_uid,
        modality=top.code(_MODALITY),
        image_type=top.codes(_IMAGE_TYPE),
        series_number=top.integer(_SERIES_NUMBER),
        series_description=top.text(_SERIES_DESCRIPTION),
        instance_number=top.integer(_INSTANCE_NUMBER),
        body_part=top.code(_BODY_PART)
        or _anatomic_region(_common_macro(shared, first, _FRAME_ANATOMY, _ANATOMIC_REGION)),
        kernel=top.text(_KERNEL) or reconstruction.text(_KERNEL),
        contrast_agent=_contrast_agent(top),
        slice_thickness_mm=top.decimal(_SLICE_THICKNESS) or measures.decimal(_SLICE_THICKNESS),
        gantry_tilt_deg=top.decimal(_GANTRY_TILT),
        rows=top.unsigned_short(_ROWS),
        columns=top.unsigned_short(_COLUMNS),
        frames=frames,
        frame_of_reference_uid=top.uid(_FRAME_OF_REFERENCE_UID),
        burned_in_annotation=top.code(_BURNED_IN),
    )


def _sop_instance_uid(top: Values) -> str:
    return _required_uid(top, _SOP_INSTANCE_UID, "SOP Instance UID", StoreStatus.INVALID_SOP_INSTANCE)


def _required_uid(top: Values, tag: int, name: str, status: StoreStatus = StoreStatus.CANNOT_UNDERSTAND) -> str:
    uid = top.uid(tag)
    if not uid:
        raise InstanceRefused(status, f"{name} is missing or not valid")
    return uid


def _contrast_agent(top: Values) -> str:
    coded = top.first_item(_CONTRAST_AGENT_SEQUENCE, frozenset({_CODE_MEANING}))
    return top.text(_CONTRAST_AGENT) or coded.text(_CODE_MEANING)


def _common_macro(shared: Values, first: Values, group: int, wanted: int) -> Values:
    """A functional group that says the same of all frames: shared, or written with each of them, so with the first."""
    return (shared if group in shared else first).first_item(group, frozenset({wanted}))


def _anatomic_region(anatomy: Values) -> str:
    """Multi-frame images name the region by code in Frame Anatomy (PS3.3 C.7.6.16.2.8)."""
    return anatomy.first_item(_ANATOMIC_REGION, frozenset({_CODE_MEANING})).text(_CODE_MEANING).upper()


def _frames(top: Values, shared: Values, sop_class_uid: str) -> tuple[FrameGeometry, ...]:
    if top.unsigned_short(_ROWS) is None or top.unsigned_short(_COLUMNS) is None:
        return ()
    if sop_class_uid in MULTI_FRAME_CT:
        groups = top.items(_PER_FRAME_GROUPS, _GEOMETRY_GROUPS, maximum=MAXIMUM_FRAMES + 1)
        if len(groups) > MAXIMUM_FRAMES:
            raise MalformedDataSet("more frames than any CT has")
        return _multi_frame_geometry(groups, shared)
    if sop_class_uid in SINGLE_FRAME_CT or _POSITION in top:
        return (_geometry(top, top, top, top),)
    return ()


def _multi_frame_geometry(groups: list[Values], shared: Values) -> tuple[FrameGeometry, ...]:
    """Each functional group macro stands in the shared or in the per-frame groups (PS3.3 C.7.6.16)."""
    wanted = {
        _PLANE_POSITION: frozenset({_POSITION}),
        _PLANE_ORIENTATION: frozenset({_ORIENTATION}),
        _PIXEL_MEASURES: frozenset({_PIXEL_SPACING}),
        _PIXEL_VALUE_TRANSFORMATION: frozenset({_RESCALE_SLOPE, _RESCALE_INTERCEPT}),
    }
    common = {group: shared.first_item(group, tags) for group, tags in wanted.items()}
    frames = []
    for own in groups:
        macros = [own.first_item(group, tags) if group in own else common[group] for group, tags in wanted.items()]
        frames.append(_geometry(*macros))
    return tuple(frames)


def _geometry(position: Values, orientation: Values, measures: Values, transformation: Values) -> FrameGeometry:
    return FrameGeometry(
        position_mm=cast("tuple[float, float, float] | None", position.decimals(_POSITION, 3)),
        orientation=cast(
            "tuple[float, float, float, float, float, float] | None", orientation.decimals(_ORIENTATION, 6)
        ),
        spacing_mm=cast("tuple[float, float] | None", measures.decimals(_PIXEL_SPACING, 2)),
        rescale_slope=transformation.decimal(_RESCALE_SLOPE),
        rescale_intercept=transformation.decimal(_RESCALE_INTERCEPT),
    )
