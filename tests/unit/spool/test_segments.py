"""A spool of segments on a real disk: what is kept, what is refused, what is found again."""

import mmap
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom.dsutils import encode

from dicom_node.errors import InstanceRefused, ResourceExhausted, StorageCorrupt
from dicom_node.headers import read_instance_facts
from dicom_node.records import Part10File, Stored
from dicom_node.spool import SegmentSpool, salvage, segment, segments
from dicom_node.spool.base import SpoolWriter
from dicom_node.spool.extraction import extract
from dicom_node.spool.occupancy import Occupancy
from dicom_node.spool.record_head import MAGIC
from dicom_node.spool.segment import ALIGNMENT
from tests.spool_contents import content, stored_files, unfinished_bytes
from tests.synthetic_ct import ct_slice

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
AT = datetime(2026, 5, 4, 3, 2, 1, 500_000, UTC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(root: Path) -> Iterator[SegmentSpool]:
    opened = SegmentSpool(root)
    yield opened
    opened.close()


def begin(spool: SegmentSpool, uid: str = "1.2.3") -> SpoolWriter:
    return spool.begin(sop_instance_uid=uid, sop_class_uid=CT, transfer_syntax_uid=EXPLICIT)


def put(spool: SegmentSpool, data: bytes, uid: str = "1.2.3") -> Stored:
    writer = begin(spool, uid)
    writer.write([memoryview(data)])
    return writer.publish(received_at=AT, calling_ae="SCANNER")


def overwrite(file: Part10File, at: int, data: bytes) -> None:
    with file.path.open("r+b") as opened:
        opened.seek(file.start + at)
        opened.write(data)


def test_an_instance_is_a_part_10_file_that_holds_exactly_its_bytes(spool: SegmentSpool, tmp_path: Path) -> None:
    first, second = (encode(ct_slice(number, (0, 0, float(number))), False, True) or b"" for number in (1, 2))
    stored = [put(spool, data, uid) for data, uid in ((first, "1.2.3"), (second, "1.2.4"))]
    assert stored[0].file.path == stored[1].file.path, "a lone sender stays in one segment"
    for one, data in zip(stored, (first, second), strict=True):
        assert one.size_bytes == len(data)
        assert content(one.file).endswith(data)
        assert one.file.start % ALIGNMENT == 0
        assert dcmread(BytesIO(content(one.file))).file_meta.TransferSyntaxUID == EXPLICIT
        assert read_instance_facts(one.file, whole=True).modality == "CT"
        assert spool.describe(one.file) == one
        extract(one.file, tmp_path / "own.dcm")
        own = (tmp_path / "own.dcm").read_bytes()
        assert own[:128] == bytes(128)
        assert own[128:] == content(one.file)[128:]


def test_pieces_are_joined_in_order(spool: SegmentSpool) -> None:
    data = os.urandom(100_000)
    whole = put(spool, data)
    writer = begin(spool)
    for start in range(0, len(data), 30_000):
        half = start + 7
        writer.write([memoryview(data)[start:half], memoryview(data)[half : start + 30_000]])
    assert writer.size_bytes == len(data)
    assert writer.first_bytes == data[: segment.FIRST_BYTES]
    with writer.mapped() as (mapped, start):
        assert mapped[start:] == data
    assert writer.holds_same(whole)
    assert writer.digest == whole.digest
    assert writer.publish(received_at=AT, calling_ae="A").digest == whole.digest


def test_an_empty_data_set_can_be_looked_at(spool: SegmentSpool) -> None:
    writer = begin(spool)
    with writer.mapped() as (mapped, start):
        assert len(mapped) == start
    writer.discard()


def test_what_differs_is_not_the_same(spool: SegmentSpool) -> None:
    held = put(spool, b"a" * 3_000_000)
    for other in (b"a" * 2_999_999, b"a" * 2_999_999 + b"b", b"b" + b"a" * 2_999_999):
        writer = begin(spool)
        writer.write([memoryview(other)])
        assert not writer.holds_same(held)
        writer.discard()


def test_what_is_discarded_leaves_nothing(spool: SegmentSpool, root: Path) -> None:
    held = put(spool, b"held")
    writer = begin(spool)
    writer.write([memoryview(os.urandom(1_000_000))])
    writer.discard()
    writer.discard()
    assert unfinished_bytes(root) == 0
    after = put(spool, b"after")
    assert after.file.start == held.file.start + ALIGNMENT, "its place is used again"
    assert [spool.describe(file) for file in stored_files(spool)] == [held, after]


def test_a_segment_that_never_held_anything_goes(spool: SegmentSpool, root: Path) -> None:
    writers = [begin(spool) for _ in range(segments.IDLE_DESCRIPTORS + 5)]
    for writer in writers:
        writer.write([memoryview(b"half")])
        writer.discard()
    assert len(list(root.iterdir())) == segments.IDLE_DESCRIPTORS
    spool.close()
    assert list(root.iterdir()) == []


def test_writers_at_once_have_a_segment_each_and_few_stay_open(spool: SegmentSpool, root: Path) -> None:
    count = segments.IDLE_DESCRIPTORS + 5
    writers = [begin(spool, f"1.2.{number}") for number in range(count)]
    for number, writer in enumerate(writers):
        writer.write([memoryview(bytes([number]) * 1000)])
    stored = [writer.publish(received_at=AT, calling_ae="A") for writer in writers]
    assert len({one.file.path for one in stored}) == count
    open_here = [link for link in Path("/proc/self/fd").iterdir() if str(root) in os.path.realpath(link)]
    assert len(open_here) == segments.IDLE_DESCRIPTORS
    again = [begin(spool, f"1.3.{number}") for number in range(count)]
    for writer in again:
        writer.write([memoryview(b"x")])
        writer.publish(received_at=AT, calling_ae="A")
    assert len(list(root.iterdir())) == count, "the others are opened again before new ones are made"


def test_a_full_segment_is_followed_by_another(root: Path) -> None:
    spool = SegmentSpool(root, segment_bytes=3 * ALIGNMENT)
    stored = [put(spool, b"x" * 100, f"1.2.{number}") for number in range(7)]
    assert [len([one for one in stored if one.file.path == path]) for path in dict.fromkeys(s.file.path for s in stored)] == [3, 3, 1]  # fmt: skip  # noqa: E501
    spool.close()


def test_everything_is_found_again_without_an_index(spool: SegmentSpool, root: Path) -> None:
    stored = [put(spool, os.urandom(10_000 + number), f"1.2.{number}") for number in range(5)]
    found = list(SegmentSpool(root).unlisted({}, alone=True))
    assert [one.stored for one in found] == stored
    assert {(one.received_at, one.calling_ae) for one in found} == {(AT, "SCANNER")}


def test_only_what_an_index_does_not_know_is_read(spool: SegmentSpool, root: Path) -> None:
    stored = [put(spool, os.urandom(10_000), f"1.2.{number}") for number in range(3)]
    overwrite(stored[0].file, 0, b"\0" * 128)  # would be told, if it were read
    last_known = stored[1].file
    ends = {last_known.path: last_known.start + (last_known.size_bytes or 0)}
    assert [one.stored for one in SegmentSpool(root).unlisted(ends, alone=True)] == stored[2:]


def test_what_a_crash_left_is_cut_off_only_when_nobody_stores(spool: SegmentSpool, root: Path) -> None:
    held = put(spool, b"held" * 1000)
    begin(spool).write([memoryview(os.urandom(500_000))])  # and never ends
    fresh = begin(spool)
    fresh.write([memoryview(b"a segment of its own")])
    size = held.file.path.stat().st_size
    again = SegmentSpool(root)
    assert [one.stored for one in again.unlisted({}, alone=False)] == [held]
    assert held.file.path.stat().st_size == size
    assert [one.stored for one in again.unlisted({}, alone=True)] == [held]
    assert held.file.path.stat().st_size < size
    assert list(root.iterdir()) == [held.file.path]


@pytest.mark.parametrize("where", ["head", "pixels", "end", "all of it"])
def test_a_record_torn_by_a_power_cut_is_not_there(spool: SegmentSpool, root: Path, where: str) -> None:
    held, torn = put(spool, os.urandom(50_000)), put(spool, os.urandom(50_000), "1.2.4")
    size = torn.file.size_bytes or 0
    if where == "end":
        os.truncate(torn.file.path, torn.file.start + size - 1)
    else:
        at, count = {"head": (30, 90), "pixels": (30_000, 4096), "all of it": (0, size)}[where]
        overwrite(torn.file, at, bytes(count))
    before = torn.file.path.stat().st_size
    assert [one.stored for one in SegmentSpool(root).unlisted({}, alone=True)] == [held]
    kept = torn.file.start if where == "all of it" else before
    assert torn.file.path.stat().st_size == kept, "what looks like a head stays: somebody may have been told"


@pytest.mark.parametrize("at", [10, 30_000])
def test_damage_costs_one_instance(spool: SegmentSpool, root: Path, at: int) -> None:
    stored = [put(spool, os.urandom(50_000), f"1.2.{number}") for number in range(3)]
    overwrite(stored[1].file, at, b"damage")
    with pytest.raises(StorageCorrupt):
        spool.describe(stored[1].file)
    assert [one.stored for one in SegmentSpool(root).unlisted({}, alone=True)] == [stored[0], stored[2]]


def test_bytes_of_a_peer_do_not_pass_for_a_record(spool: SegmentSpool, root: Path) -> None:
    """Even a whole record of another segment, where a record may begin, in what a crash left."""
    stranger = SegmentSpool(root.parent / "other")
    record = content(put(stranger, b"forged" * 100, "1.2.666").file)
    writer = begin(spool)
    writer.write([memoryview(b"\0" * (ALIGNMENT - 128 - 200) + (record + bytes(ALIGNMENT - len(record))) * 4)])
    writer.write([memoryview(MAGIC * 10_000)])
    assert list(SegmentSpool(root).unlisted({}, alone=False)) == []
    assert list(SegmentSpool(root).unlisted({}, alone=True)) == []


def test_after_a_failed_synchronisation_a_segment_is_left_alone(
    spool: SegmentSpool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel says once that a page was lost."""
    held = put(spool, b"held")
    writer = begin(spool, "1.2.4")
    writer.write([memoryview(b"lost")])
    with monkeypatch.context() as sick:
        sick.setattr(segment.os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="Input/output"):
            writer.publish(received_at=AT, calling_ae="A")
    assert [one.stored for one in spool.unlisted({}, alone=False)] == [held]
    assert put(spool, b"lost", "1.2.4").file.path != held.file.path


def test_a_full_disk_is_told_and_leaves_nothing(
    spool: SegmentSpool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = put(spool, b"held")
    writer = begin(spool, "1.2.4")
    with monkeypatch.context() as full:
        full.setattr(segment.os, "pwritev", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(ResourceExhausted, match="full"):
            writer.write([memoryview(b"much")])
    writer.discard()
    assert stored_files(spool) == [held.file]
    assert put(spool, b"again", "1.2.4").file.path == held.file.path


def test_too_little_free_space_refuses(root: Path) -> None:
    with pytest.raises(ResourceExhausted, match="minimum_free_mb"):
        begin(SegmentSpool(root, minimum_free_bytes=2**60))


def test_a_segment_that_somebody_took_away_is_not_written_to(spool: SegmentSpool, root: Path) -> None:
    gone = put(spool, b"gone").file.path
    writer = begin(spool)
    writer.write([memoryview(b"would be lost")])
    gone.unlink()
    with pytest.raises(FileNotFoundError):
        writer.publish(received_at=AT, calling_ae="A")
    assert put(spool, b"kept").file.path != gone
    assert len(stored_files(spool)) == 1


def test_many_threads_lose_nothing(spool: SegmentSpool) -> None:
    def store(thread: int) -> None:
        for number in range(30):
            stored[thread].append(put(spool, f"{thread} {number}".encode() * 500, f"1.{thread}.{number}"))

    stored: list[list[Stored]] = [[] for _ in range(8)]
    threads = [threading.Thread(target=store, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.file for each in stored for one in each} == set(stored_files(spool))


def test_foreign_files_are_left_alone(spool: SegmentSpool, root: Path) -> None:
    held = put(spool, b"held")
    for name in ("notes.segment", "x.dcm", "in-use"):
        (root / name).write_bytes(b"not ours")
    assert [one.stored for one in spool.unlisted({}, alone=True)] == [held]
    assert (root / "notes.segment").exists()


def test_what_is_extracted_is_whole_or_not_there(spool: SegmentSpool, tmp_path: Path) -> None:
    stored = put(spool, os.urandom(3_000_000))
    target, precious = tmp_path / "own.dcm", tmp_path / "precious"
    precious.write_bytes(b"precious")
    target.symlink_to(precious)
    extract(stored.file, target)
    assert precious.read_bytes() == b"precious"
    assert target.stat().st_mode & 0o777 == 0o600
    whole = target.read_bytes()
    os.truncate(stored.file.path, 2_000_000)
    with pytest.raises(OSError, match="end is missing"):
        extract(stored.file, target)
    assert target.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["own.dcm", "precious"]


def test_a_gigabyte_that_was_never_finished_is_read_in_large_blocks(
    spool: SegmentSpool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that starts takes nothing before it has looked through all of it."""
    held = put(spool, b"held")
    os.truncate(held.file.path, 1024**3)
    reads = 0

    def counted(descriptor: int, count: int, position: int) -> bytes:
        nonlocal reads
        reads += 1
        return pread(descriptor, count, position)

    pread = os.pread
    monkeypatch.setattr(os, "pread", counted)
    assert [one.stored for one in SegmentSpool(root).unlisted({}, alone=True)] == [held]
    assert reads < 2000


def test_nobody_searches_behind_what_is_being_written(spool: SegmentSpool, root: Path) -> None:
    stored = [put(spool, os.urandom(10_000), f"1.2.{number}") for number in range(2)]
    overwrite(stored[0].file, 0, bytes(128))
    assert list(SegmentSpool(root).unlisted({}, alone=False)) == []
    assert [one.stored for one in SegmentSpool(root).unlisted({}, alone=True)] == stored[1:]


def test_who_is_not_alone_still_keeps_others_from_being(root: Path, spool: SegmentSpool) -> None:
    first, second = Occupancy(root), Occupancy(root)
    with first.alone() as alone:
        assert not alone
        with second.alone() as other:
            assert not other, "the first still holds its lock"
    first.close()
    with second.alone() as alone:
        assert alone
    second.close()


@pytest.mark.parametrize("version", [b"1", b"2"], ids=["damaged", "of another version"])
def test_what_looks_like_a_head_is_never_cut_off(spool: SegmentSpool, root: Path, version: bytes) -> None:
    """With the index lost, the last record may have been acknowledged, whatever became of its head."""
    stored = [put(spool, os.urandom(10_000), f"1.2.{number}") for number in range(2)]
    overwrite(stored[1].file, 7, version + os.urandom(40))
    size = stored[1].file.path.stat().st_size
    assert [one.stored for one in SegmentSpool(root).unlisted({}, alone=True)] == stored[:1]
    overwrite(stored[0].file, 7, version + os.urandom(40))
    assert list(SegmentSpool(root).unlisted({}, alone=True)) == []
    assert stored[0].file.path.stat().st_size == size


def test_records_are_found_where_smaller_pages_put_them(
    spool: SegmentSpool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data folder that moves to a machine with pages of 64 KiB: nothing is analysed there, and nothing is lost."""
    stored = [put(spool, os.urandom(100_000), f"1.2.{number}") for number in range(3)]
    size = stored[0].file.path.stat().st_size
    monkeypatch.setattr(salvage, "ALIGNMENT", 65536)
    monkeypatch.setattr(mmap, "ALLOCATIONGRANULARITY", 65536)
    found = [one.stored for one in SegmentSpool(root).unlisted({}, alone=True)]
    assert found == stored
    assert stored[0].file.path.stat().st_size == size
    with pytest.raises(InstanceRefused, match="smaller pages"):
        read_instance_facts(stored[1].file)
