"""What lies in a spool, asked of its files alone: no index is looked at."""

from pathlib import Path

from dicom_node.records import Part10File
from dicom_node.spool import SegmentSpool
from dicom_node.spool.record_head import IDENTITY_BYTES, identity_of
from dicom_node.spool.salvage import found_in
from dicom_node.spool.segment import ALIGNMENT
from dicom_node.spool.segments import SUFFIX


def stored_files(spool: SegmentSpool) -> list[Part10File]:
    """Every intact instance."""
    segments = sorted(spool.root.glob(f"{'[0-9a-f]' * 2 * IDENTITY_BYTES}{SUFFIX}"))
    return [
        found.stored.file
        for path in segments
        for found in found_in(path, identity_of(path), start=0, mend=False, search=True)
    ]


def content(file: Part10File) -> bytes:
    """The bytes of a Part 10 file."""
    whole = file.path.read_bytes()
    return whole[file.start :] if file.size_bytes is None else whole[file.start : file.start + file.size_bytes]


def unfinished_bytes(root: Path) -> int:
    """Behind the last intact instance of every segment; while nothing arrives there are none."""
    ends: dict[Path, int] = {}
    for file in stored_files(SegmentSpool(root)):
        ends[file.path] = max(ends.get(file.path, 0), file.start + (file.size_bytes or 0))
    sizes = {path: path.stat().st_size for path in root.glob(f"*{SUFFIX}")}
    return sum(max(size - -(-ends.get(path, 0) // ALIGNMENT) * ALIGNMENT, 0) for path, size in sizes.items())
