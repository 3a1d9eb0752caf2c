"""What a server costs is counted whole: its children, too, alive, ended, and waited for."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.receiving.processes import cpu_s, family, memory_kb, own_kb

BURNT_S = 0.15
FORKING = """
import os, sys, time
burnt, wait_for = os.pipe()[::-1]
child = os.fork()
while time.process_time() < {burnt_s}:
    pass
ending = {ending!r}
if child == 0:
    os.write(burnt, b"!")
    if ending == "alive":
        time.sleep(60)
    os._exit(0)
os.read(wait_for, 1)
if ending == "ended":
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
if ending == "waited for":
    os.waitpid(child, 0)
print("ready", flush=True)
sys.stdin.read()
if ending == "alive":
    os.kill(child, 9)
"""


@contextmanager
def forking(ending: str) -> Iterator[int]:
    """A process that has burnt processor time, like its child."""
    program = FORKING.format(burnt_s=BURNT_S, ending=ending)
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.communicate()


@pytest.mark.parametrize("ending", ["alive", "ended", "waited for"])
def test_a_child_counts(ending: str) -> None:
    with forking(ending) as process:
        assert len(family(process)) == (1 if ending == "waited for" else 2)
        assert 1.8 * BURNT_S < cpu_s(process) < 2 * BURNT_S + 0.5


def test_memory_is_shared_with_children_and_not_counted_twice() -> None:
    with forking("alive") as process:
        alone_kb = memory_kb(process, "RssAnon")
        assert memory_kb(process, "VmRSS") > alone_kb
        assert 0.9 * alone_kb < own_kb(process) < 1.8 * alone_kb  # the kernel's count for RssAnon is not exact
    with forking("ended") as process:
        assert own_kb(process) == pytest.approx(memory_kb(process, "RssAnon"), rel=0.1), "the ended one has none"
