"""A decoder that crashes, hangs or takes too much costs one study its result, and nothing else.

The streams are real ones made hostile, the deaths are real signals to real processes.
"""

import io
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLosslessSV1, RLELossless
from synthetic_ct import axial_series, set_pixels, write

from dicom_node.errors import NotAnalysable, ResourceExhausted
from dicom_node.records import Series
from dicom_node.volumes import DecodeLimits, DecodePool, SeriesVolume, build_volume

JPEG_FULL_PROGRESSION = UID("1.2.840.10008.1.2.4.55")
SLICES = 10
PATIENCE_S = 60.0


def hostile(folder: Path, syntax: UID, stream: bytes, rows: int, *, bits: int = 16) -> Series:
    """Slices of rows × rows whose frame is ``stream``, however many bytes it stands for."""

    def edit(image: Dataset) -> None:
        image.file_meta.TransferSyntaxUID = syntax
        image.Rows = image.Columns = rows
        image.BitsAllocated = image.BitsStored = bits
        image.HighBit = bits - 1
        image.PixelData = encapsulate([stream])
        image["PixelData"].VR = "OB"
        image["PixelData"].is_undefined_length = True

    folder.mkdir()
    return write(folder, axial_series(SLICES, edit=edit))


def declared_size_bomb(rows: int) -> bytes:
    """A JPEG 2000 codestream of 64² whose header claims rows², in one tile (ITU-T T.800 A.5.1)."""
    stream = bytearray(imagecodecs.jpeg2k_encode(np.zeros((64, 64), np.uint16), codecformat="j2k", reversible=True))
    for field in (8, 12, 24, 28):
        stream[field : field + 4] = rows.to_bytes(4, "big")
    return bytes(stream)


def run_length_bomb(rows: int) -> bytes:
    """rows² zeros of 16 bits in a 128th of their size (PS3.5 annex G)."""
    plane = b"\x81\x00" * (rows * rows // 128)  # each pair is 128 zeros
    return np.array([2, 64, 64 + len(plane), *[0] * 13], dtype="<u4").tobytes() + plane * 2


def scan_bomb(rows: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan, a few bytes that walk over the whole picture, comes again and again."""
    written = io.BytesIO()
    Image.new("L", (rows, rows), 128).save(written, "JPEG", progressive=True)
    stream = written.getvalue()
    last_scan = stream[stream.rindex(b"\xff\xda") : -2]
    return stream[:-2] + last_scan * scans + stream[-2:]


@pytest.fixture
def good(tmp_path: Path) -> Series:
    def edit(image: Dataset) -> None:
        picture = np.full((64, 80), image.InstanceNumber, dtype=np.uint16)
        set_pixels(image, picture)
        image.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        stream = imagecodecs.jpeg8_encode(picture, lossless=True, predictor=1, bitspersample=16)
        image.PixelData = encapsulate([bytes(stream)])
        image["PixelData"].VR = "OB"
        image["PixelData"].is_undefined_length = True

    folder = tmp_path / "good"
    folder.mkdir()
    return write(folder, axial_series(SLICES, edit=edit))


@pytest.fixture
def endless(tmp_path: Path) -> Series:
    """Each frame keeps a decoder busy for longer than any test waits."""
    return hostile(tmp_path / "endless", JPEG_FULL_PROGRESSION, scan_bomb(2048, 20_000), 2048, bits=8)


STRANGERS: set[int] = set()
"""Processes that other tests in this one have started, and that go with it: multiprocessing keeps one."""


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    threads = threading.active_count()
    STRANGERS.clear()
    STRANGERS.update(decoders_of(os.getpid()))
    yield
    assert not decoders_of(os.getpid())
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208
    assert threading.active_count() == threads


def decoders_of(parent: int) -> set[int]:
    """Process ids of the decoder processes that ``parent`` has started, dead ones that nobody has waited for too."""
    children = Path(f"/proc/{parent}/task")
    return {int(pid) for task in children.iterdir() for pid in (task / "children").read_text().split()} - STRANGERS


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    patience = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < patience
        time.sleep(0.01)


def decodes(pool: DecodePool, good: Series) -> bool:
    array = build_volume(good, decoders=pool).volume.array_zyx
    return bool((array == np.arange(SLICES, 0, -1)[:, None, None] - 1024).all())


def started_on(
    pool: DecodePool, good: Series, endless: Series, threads: ThreadPoolExecutor
) -> tuple[int, Future[SeriesVolume]]:
    """The process that is now in the middle of a frame that does not end, and what will become of its study."""
    assert decodes(pool, good)
    (pid,) = decoders_of(os.getpid())
    before = cpu_s(pid)
    outcome = threads.submit(build_volume, endless, decoders=pool)
    wait_until(lambda: cpu_s(pid) > before + 0.1)
    return pid, outcome


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_decoder_that_dies_costs_its_study_only(
    good: Series, endless: Series, threads: ThreadPoolExecutor, number: signal.Signals
) -> None:
    with DecodePool(1) as pool:
        pid, outcome = started_on(pool, good, endless, threads)
        os.kill(pid, number)
        uids = "|".join(each.facts.sop_instance_uid for each in endless.instances)
        expected = f"^pixel data of instance ({uids}) cannot be decoded: the decoder crashed$"
        with pytest.raises(NotAnalysable, match=expected):
            outcome.result(PATIENCE_S)
        assert decodes(pool, good)
        assert decoders_of(os.getpid()) != {pid}


def test_a_decoder_that_died_while_idle_costs_nothing(good: Series) -> None:
    with DecodePool(2) as pool:
        assert decodes(pool, good)
        for pid in decoders_of(os.getpid()):
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: not is_running(pid))
        assert decodes(pool, good)


def test_a_frame_gets_so_much_processor_time(good: Series, endless: Series) -> None:
    with DecodePool(1, DecodeLimits(cpu_s=1)) as pool:
        with pytest.raises(NotAnalysable, match="cannot be decoded: the decoder did not come to an end"):
            build_volume(endless, decoders=pool)
        assert decodes(pool, good)


def test_processor_time_is_counted_for_each_frame(good: Series, tmp_path: Path) -> None:
    slow = hostile(tmp_path / "slow", JPEG_FULL_PROGRESSION, scan_bomb(512, 300), 512, bits=8)
    with DecodePool(1, DecodeLimits(cpu_s=1)) as pool:
        wait_until(lambda: decodes(pool, good))
        (pid,) = decoders_of(os.getpid())
        while cpu_s(pid) < 3.0:
            build_volume(slow, decoders=pool)
        assert decoders_of(os.getpid()) == {pid}


def test_a_decoder_that_stands_still_is_given_up(good: Series, endless: Series, threads: ThreadPoolExecutor) -> None:
    with DecodePool(1, DecodeLimits(wall_s=8)) as pool:
        pid, outcome = started_on(pool, good, endless, threads)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(NotAnalysable, match="cannot be decoded: the decoder did not come to an end"):
            outcome.result(PATIENCE_S)
        assert decodes(pool, good)


def test_more_memory_than_allowed(good: Series, tmp_path: Path) -> None:
    bomb = hostile(tmp_path / "bomb", RLELossless, run_length_bomb(6000), 6000)
    with DecodePool(1, DecodeLimits(memory_mb=128)) as pool:
        with pytest.raises(NotAnalysable, match="cannot be decoded: the decoder asked for more memory"):
            build_volume(bomb, decoders=pool)
        assert decodes(pool, good)


def test_a_declared_size_takes_no_memory_of_the_node(good: Series, tmp_path: Path) -> None:
    bomb = hostile(tmp_path / "bomb", JPEG2000Lossless, declared_size_bomb(14_000), 14_000)
    with DecodePool(2) as pool:
        assert decodes(pool, good)
        Path("/proc/self/clear_refs").write_text("5")  # the highest resident size counts from now
        before = peak_bytes()
        with pytest.raises(NotAnalysable, match=r"pixel data of instance .* cannot be decoded"):
            build_volume(bomb, decoders=pool)
        assert peak_bytes() - before < 64 * 1024 * 1024
        assert decodes(pool, good)


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_a_pool_that_closes_says_nothing_about_pixels(
    good: Series, endless: Series, threads: ThreadPoolExecutor
) -> None:
    pool = DecodePool(1)
    _, outcome = started_on(pool, good, endless, threads)
    pool.close()
    with pytest.raises(ResourceExhausted, match="the node is stopping"):
        outcome.result(PATIENCE_S)
    with pytest.raises(ResourceExhausted, match="the node is stopping"):
        build_volume(good, decoders=pool)


def test_a_decoder_holds_nothing_of_the_node(good: Series, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOM_NODE_SECRET", "hush")
    with socket.create_server(("127.0.0.1", 0)) as server, DecodePool(1) as pool:
        server.set_inheritable(True)
        assert decodes(pool, good)
        (pid,) = decoders_of(os.getpid())
        held = sorted(str(each.readlink()).split(":")[0] for each in Path(f"/proc/{pid}/fd").iterdir())
        # Python maps memory through a descriptor of its own, so the shared memory counts twice.
        assert held == ["/dev/null", "/dev/null", "/memfd", "/memfd", "pipe", "socket"]
        assert b"hush" not in Path(f"/proc/{pid}/environ").read_bytes()
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert "Max file size             0 " in limits
        assert "Max core file size        0 " in limits
        assert "Max address space         unlimited" not in limits


def test_signals_to_the_whole_group_do_not_reach_a_decoder(good: Series) -> None:
    with DecodePool(1) as pool:
        assert decodes(pool, good)
        (pid,) = decoders_of(os.getpid())
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
        time.sleep(0.2)
        assert decodes(pool, good)
        assert decoders_of(os.getpid()) == {pid}


NODE = """
import pickle, sys
from dicom_node.volumes import DecodePool, build_volume
with DecodePool(1) as pool:
    build_volume(pickle.load(sys.stdin.buffer), decoders=pool)
"""


def test_decoders_end_with_a_killed_node(endless: Series) -> None:
    with subprocess.Popen([sys.executable, "-c", NODE], stdin=subprocess.PIPE) as node:
        assert node.stdin is not None
        pickle.dump(endless, node.stdin)
        node.stdin.close()
        wait_until(lambda: bool(decoders_of(node.pid)))
        (pid,) = decoders_of(node.pid)
        wait_until(lambda: cpu_s(pid) > 1.0)  # its start takes less: it decodes
        node.kill()
    gone_by = time.monotonic() + 2.0
    while is_running(pid):
        assert time.monotonic() < gone_by
        time.sleep(0.01)
