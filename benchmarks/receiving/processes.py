"""What a process and its children cost: processor time and memory (Linux)."""

import os
import re
import time
from pathlib import Path

_CPU_CLOCK = 2
"""CPUCLOCK_SCHED: the scheduler's own count in nanoseconds, of all threads alive or gone."""


def family(process: int) -> list[int]:
    """The process and all that descend from it, alive or not yet waited for."""
    children = [int(number) for task in _tasks(process) for number in (task / "children").read_text().split()]
    return [process, *(member for child in children for member in family(child))]


def cpu_s(process: int) -> float:
    """User and system time of a process and its children, in seconds.

    Not /proc/PID/stat: that counts whole ticks of 10 ms, and a server that forks has 64 processes whose parts of a tick
    are missing. From there come only the children that have ended and were waited for.
    """
    return sum(time.clock_gettime((~member << 3) | _CPU_CLOCK) + _waited_for_s(member) for member in family(process))


def own_kb(process: int) -> int:
    """Memory of a process and its children that no file backs, in kB; pages that children share count once (Pss_Anon).

    Not Pss: it changes whenever a stranger that uses the same libraries starts or ends.
    """
    return sum(_kb(Path(f"/proc/{member}/smaps_rollup"), "Pss_Anon") for member in family(process))


def memory_kb(process: int, name: str) -> int:
    """A line of /proc/PID/status, of the process alone: VmRSS or RssAnon, in kB."""
    return _kb(Path(f"/proc/{process}/status"), name)


def _tasks(process: int) -> list[Path]:
    return list(Path(f"/proc/{process}/task").iterdir())


def _waited_for_s(process: int) -> float:
    ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[13:15]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _kb(file: Path, name: str) -> int:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(), re.MULTILINE)
    except ProcessLookupError:  # ended, and not yet waited for
        return 0
    return 0 if found is None else int(found[1])
