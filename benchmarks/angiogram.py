"""What a CT pulmonary angiogram takes from files to results: seconds, and memory with every child process.

``dicom-node infer`` on a phantom in a process of its own, models loaded and libraries imported within the time. The
goals are seconds and bytes on two cores, so these are no ratios of two measurements: a busy machine worsens the first.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.result import Result
from dicom_node.demonstration.phantom_study import write_phantom_study

LONGEST_S = 60.0
LARGEST_MB = 4096.0
SIZE_PX = 512
SEED = 7
"""Has emboli, so that boxes are found and written."""
LOOK_EVERY_S = 0.1


def measure(*, slices: int) -> list[Result]:
    """One run."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_phantom_study(
            folder / "study", kind="ctpa", slices=slices, size_px=SIZE_PX, seed=SEED, truth_folder=folder / "truth"
        )
        command = [sys.executable, "-m", "dicom_node", "infer", str(folder / "study"), "--out", str(folder / "out")]
        seconds, megabytes = watched([*command, "--pipeline", "pulmonary_embolism"])
    said = f"{slices} slices of {SIZE_PX}²: {seconds:.1f} s, {megabytes:.0f} MB at most"
    return [
        Result(
            name=f"an angiogram, files to results / {LONGEST_S:.0f} s", ratio=seconds / LONGEST_S, goal=1, detail=said
        ),
        Result(name="its memory / 4 GB", ratio=megabytes / LARGEST_MB, goal=1, detail=said),
    ]


def watched(command: list[str]) -> tuple[float, float]:
    """Seconds that a command ran, and the most memory (MB) that it held together with its descendants.

    Raises ``RuntimeError`` where it fails.
    """
    started, most = time.perf_counter(), 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            most = max(most, sum(_megabytes(one) for one in _family(process.pid)))
            time.sleep(LOOK_EVERY_S)
        seconds = time.perf_counter() - started
        assert process.stderr is not None
        said = process.stderr.read().decode()
    if process.returncode:
        raise RuntimeError(f"{command[2:5]} ended with {process.returncode}: {said}")
    return seconds, most


def _family(process: int) -> set[int]:
    """A process and everything that it or its threads started."""
    found, waiting = set(), [process]
    while waiting:
        one = waiting.pop()
        found.add(one)
        try:
            threads = list(Path(f"/proc/{one}/task").iterdir())
            waiting += [int(child) for thread in threads for child in (thread / "children").read_text().split()]
        except OSError:
            continue  # it ended meanwhile
    return found


def _megabytes(process: int) -> float:
    """Its share of the memory: pages that several processes hold are divided among them."""
    try:
        held = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0.0
    return int(held[1]) / 1024 if held else 0.0
