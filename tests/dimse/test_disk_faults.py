"""A disk that fails while an instance is written: its sender is told, nothing of it stays, no other is harmed."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.raw_sender import COMMAND, LAST, RawAssociation, c_store_rq, p_data
from dicom_node.spool import segment
from dicom_node.spool.segments import SUFFIX
from tests.dimse.conftest import OUR_AE, Receiver, encoded_slice, kept, slice_uid
from tests.dimse.test_stalled_peers import open_segments
from tests.spool_contents import stored_files, unfinished_bytes

ANSWERS = {errno.EIO: 0x0110, errno.ENOSPC: 0xA700, errno.EDQUOT: 0xA700}
Pieces = Sequence[memoryview | bytes]


@pytest.fixture
def store(receiver: Receiver) -> Callable[[int], int | None]:
    """Stores the instance of that number, and returns the status."""

    def stored(number: int) -> int | None:
        with RawAssociation(receiver.port, timeout_s=20) as peer:
            assert peer.associate(called_ae=OUR_AE) == 2
            encoded = encoded_slice(number)
            peer.socket.sendall(p_data(1, COMMAND | LAST, c_store_rq(slice_uid(number))) + p_data(1, LAST, encoded))
            status = peer.read_status()
            assert peer.release() == 6, "the association goes on"
        return status

    return stored


def failing(error: int, *, at: int, call: Callable[..., int | None]) -> Callable[..., int | None]:
    """The system call in whose place the ``at``-th one (from 0), and every later one, fails."""
    calls = iter(range(10**6))

    def called(*arguments: object, **options: object) -> int | None:
        if next(calls) >= at:
            raise OSError(error, os.strerror(error))
        return call(*arguments, **options)

    return called


@pytest.mark.parametrize("error", ANSWERS, ids=errno.errorcode.get)
def test_a_segment_whose_synchronisation_failed_is_left_alone(
    receiver: Receiver, store: Callable[[int], int | None], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """The kernel says once that pages were lost, and calls them clean afterwards."""
    assert store(1) == 0
    with monkeypatch.context() as sick:
        sick.setattr(os, "fdatasync", failing(error, at=0, call=os.fdatasync))
        assert store(2) == ANSWERS[error]
    (spoiled,) = stored_files(receiver.spool)
    assert unfinished_bytes(receiver.folder) == 0
    size = spoiled.path.stat().st_size
    assert [store(2), store(3)] == [0, 0]
    assert spoiled.path.stat().st_size == size
    assert [file.path == spoiled.path for file in stored_files(receiver.spool)].count(True) == 1
    assert sorted(kept(receiver.spool)) == sorted(encoded_slice(number) for number in (1, 2, 3))


@pytest.mark.parametrize("error", ANSWERS, ids=errno.errorcode.get)
@pytest.mark.parametrize("at", [0, 1], ids=["data set", "head"])
def test_what_cannot_be_written_leaves_nothing(
    receiver: Receiver, store: Callable[[int], int | None], monkeypatch: pytest.MonkeyPatch, at: int, error: int
) -> None:
    assert store(1) == 0
    with monkeypatch.context() as sick:
        sick.setattr(os, "pwritev", failing(error, at=at, call=os.pwritev))
        assert store(2) == ANSWERS[error]
    assert kept(receiver.spool) == [encoded_slice(1)]
    assert unfinished_bytes(receiver.folder) == 0
    assert [store(2), store(1)] == [0, 0]
    assert sorted(kept(receiver.spool)) == sorted(encoded_slice(number) for number in (1, 2))


@pytest.mark.parametrize("full", [False, True])
def test_a_write_that_stops_half_way_is_finished_or_told(
    receiver: Receiver, store: Callable[[int], int | None], monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    def half(descriptor: int, pieces: Pieces, position: int) -> int:
        whole = b"".join(pieces)
        return os.pwrite(descriptor, whole[: len(whole) // 2], position)

    pwrite, sick = os.pwrite, failing(errno.ENOSPC, at=1, call=os.pwrite)
    with monkeypatch.context() as disk:
        disk.setattr(os, "pwritev", half)
        disk.setattr(os, "pwrite", sick if full else pwrite)
        assert store(1) == (0xA700 if full else 0)
    assert kept(receiver.spool) == ([] if full else [encoded_slice(1)])
    assert unfinished_bytes(receiver.folder) == 0
    assert store(2) == 0


def test_a_segment_whose_name_is_not_durable_is_not_used(
    receiver: Receiver, store: Callable[[int], int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as sick:
        sick.setattr(os, "fsync", failing(errno.EIO, at=0, call=os.fsync))
        assert [store(1), store(1)] == [0x0110, 0x0110]
    assert list(receiver.folder.glob(f"*{SUFFIX}")) == []
    assert open_segments(receiver.folder) == 0
    assert store(1) == 0
    assert kept(receiver.spool) == [encoded_slice(1)]


def test_a_file_system_that_takes_nothing_any_more_ends_no_association(
    receiver: Receiver, store: Callable[[int], int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mounted read-only by the kernel: not even the empty segment can be taken away."""
    read_only = failing(errno.EROFS, at=0, call=lambda: None)
    with monkeypatch.context() as sick:
        for call in ("pwritev", "ftruncate", "unlink"):
            sick.setattr(os, call, read_only)
        sick.setattr(Path, "unlink", read_only)
        assert store(1) == 0x0110
    assert store(1) == 0


def test_without_descriptors_a_repeat_is_put_off_not_kept_twice(
    receiver: Receiver, store: Callable[[int], int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held cannot be looked at: that does not make it damaged."""
    assert store(1) == 0
    with monkeypatch.context() as sick:
        sick.setattr(Path, "open", failing(errno.EMFILE, at=0, call=lambda: None))
        assert store(1) == 0xA700
    assert store(1) == 0
    assert len(stored_files(receiver.spool)) == 1


def test_a_study_that_comes_again_is_not_written_to_the_disk_again(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    advised: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _descriptor, _start, size, _advice: advised.append(size))
    monkeypatch.setattr(segment, "EARLY_BYTES", 1)

    def send() -> int:
        before = len(advised)
        with RawAssociation(receiver.port, timeout_s=20) as peer:
            assert peer.associate(called_ae=OUR_AE) == 2
            for number in range(5):
                encoded = encoded_slice(number)
                peer.socket.sendall(p_data(1, COMMAND | LAST, c_store_rq(slice_uid(number))) + p_data(1, LAST, encoded))
                assert peer.read_status() == 0
        return len(advised) - before

    assert send() == 5
    assert send() == 1, "the first repeat tells what the others will be"
