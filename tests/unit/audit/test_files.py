"""Audit files: bounded, whole messages or none, and whole also where two processes write."""

import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.audit import AuditFiles


def test_files_are_bounded_and_the_oldest_goes(tmp_path: Path) -> None:
    files = AuditFiles(tmp_path, file_mb=1, files=3)
    for number in range(9):
        files.write([f"{number}".encode() * 600_000])
    kept = {path.name: path.read_bytes()[:1] for path in tmp_path.iterdir()}
    assert kept == {"audit.log": b"8", "audit.1.log": b"6", "audit.2.log": b"4"}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 3 * 1.7e6


def test_full_disk_leaves_no_half_message(tmp_path: Path) -> None:
    files = AuditFiles(tmp_path, file_mb=1, files=2)
    files.write([b"<a/>"])
    (tmp_path / "audit.log").rename(tmp_path / "kept")
    (tmp_path / "audit.log").symlink_to("/dev/full")
    with pytest.raises(OSError):  # noqa: PT011 - no space left, or not a file to cut
        files.write([b"<b/>"])
    (tmp_path / "audit.log").unlink()
    files.write([b"<b/>"])
    assert (tmp_path / "audit.log").read_bytes() == b"<b/>\n"


def write_as_a_process(folder: Path, name: str, count: int) -> "subprocess.Popen[bytes]":
    """A process that writes messages of a kilobyte, ten at a time, as fast as it can."""
    program = (
        "import sys; from pathlib import Path; from dicom_node.audit import AuditFiles\n"
        "files = AuditFiles(Path(sys.argv[1]), file_mb=1, files=9)\n"
        "for start in range(0, int(sys.argv[3]), 10):\n"
        "    files.write([f'{sys.argv[2]} {n} '.ljust(1024, 'x').encode() for n in range(start, start + 10)])\n"
    )
    return subprocess.Popen([sys.executable, "-c", program, str(folder), name, str(count)])


def test_two_processes_lose_and_mix_nothing_over_rotations(tmp_path: Path) -> None:
    count = 1500
    writing = [write_as_a_process(tmp_path, name, count) for name in ("node", "command")]
    assert [process.wait(timeout=60) for process in writing] == [0, 0]
    oldest_first = [tmp_path / name for name in ("audit.2.log", "audit.1.log", "audit.log")]
    kept = [line for path in oldest_first for line in path.read_bytes().splitlines()]
    assert sorted(tmp_path.iterdir()) == sorted(oldest_first), "3 MB in files of 1"
    assert all(path.stat().st_size < 1.02 * 2**20 for path in tmp_path.iterdir())
    for name in ("node", "command"):
        own = [line.split()[1] for line in kept if line.startswith(name.encode())]
        assert own == [str(number).encode() for number in range(count)], "complete, whole, and in order"
