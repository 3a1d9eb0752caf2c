"""How well a DICOM SEG agrees with another one on the same source images.

Both are read with highdicom as a PACS's user would get them; frames are matched by the source instance that
they reference, so that neither file's own frame order matters.
"""

from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

LUNG_WORD = "lung"
Frames = dict[str, NDArray[np.bool_]]
"""SOP Instance UID of the source image → mask of its pixels (rows, columns)."""


def dice(one: Frames, other: Frames) -> float:
    """Dice coefficient over all source images; 1 where both are empty."""
    shared = sum(int((one[uid] & other[uid]).sum()) for uid in one.keys() & other.keys())
    total = sum(int(mask.sum()) for mask in one.values()) + sum(int(mask.sum()) for mask in other.values())
    return 2.0 * shared / total if total else 1.0


def regions(segmentation: Path) -> dict[str, Frames]:
    """Masks of "lungs" (both, lesions included) and "infected region" by source instance."""
    seg = hd.seg.segread(segmentation)
    numbers: dict[str, list[int]] = {"lungs": [], "infected region": []}
    for number in seg.segment_numbers:
        label = seg.get_segment_description(number).segment_label.lower()
        numbers["lungs" if LUNG_WORD in label else "infected region"].append(number)
    uids = [uid for _, _, uid in seg.get_source_image_uids()]
    found: dict[str, Frames] = {}
    for name, members in numbers.items():
        if not members:
            found[name] = {}
            continue
        stack = seg.get_pixels_by_source_instance(uids, segment_numbers=members, assert_missing_frames_are_empty=True)
        found[name] = {uid: frame.any(axis=-1) for uid, frame in zip(uids, stack, strict=True)}
    return found


def dice_against_truth(segmentation: Path, truth: Path) -> dict[str, float]:
    """Dice of lungs and infected region between a result and the truth."""
    result, expected = regions(segmentation), regions(truth)
    return {name: dice(result[name], expected[name]) for name in ("lungs", "infected region")}
