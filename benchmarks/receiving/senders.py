"""Associations that send at once, from two processes, so that the senders are never the bottleneck."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROCESSES = 2
COMMAND = (sys.executable, "-m", "benchmarks.receiving.sender_process")
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What all associations together have sent."""

    elapsed_s: float
    """From the first request to the last response."""
    size_bytes: int
    """Of the data sets."""
    latencies_s: tuple[float, ...]
    """From the first byte of each request to its response, ascending."""


class Senders:
    """A context manager. The processes live as long as it; one set of associations after the other."""

    def __init__(self) -> None:
        self._processes = [
            subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
            for _ in range(PROCESSES)
        ]
        self._shares: list[int] = []
        self._next = 1

    def __enter__(self) -> "Senders":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.wait()
            process.stdout.close()

    def open(self, port: int, called_ae: str, *, associations: int, size_px: int) -> None:
        """Establish associations that will send CT images of ``size_px``²."""
        shares = [associations // PROCESSES + (number < associations % PROCESSES) for number in range(PROCESSES)]
        self._shares = [share for share in shares if share]
        order = {"do": "open", "port": port, "called_ae": called_ae, "size_px": size_px}
        self._ask([{**order, "associations": share} for share in self._shares])

    def send(self, share: int) -> Delivery:
        """So many objects from each association, all at once. No object is ever sent twice."""
        orders = []
        for associations in self._shares:
            orders.append({"do": "send", "first": self._next, "share": share})
            self._next += associations * share
        sent = self._ask(orders)
        return Delivery(
            # One clock for all processes (CLOCK_MONOTONIC).
            elapsed_s=max(one["ended"] for one in sent) - min(one["started"] for one in sent),
            size_bytes=sum(one["size_bytes"] for one in sent),
            latencies_s=tuple(sorted(latency for one in sent for latency in one["latencies_s"])),
        )

    def release(self) -> None:
        """Release what is open."""
        self._ask([{"do": "release"}] * len(self._shares))

    def _ask(self, orders: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        asked = self._processes[: len(orders)]
        for process, order in zip(asked, orders, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        answers = []
        for process in asked:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "a sender broke off; its last words are above"
            answers.append(json.loads(line))
        return answers
