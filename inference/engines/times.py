"""How long models wait, compute and travel: sums over a process's life, by model and engine, for its metrics.

Engines add to it; who publishes it reads it. Holds nothing of a study: the models' names are its only labels.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Part(Enum):
    """Of the time of a request."""

    QUEUE = "queue"
    """Until its turn came: other requests of the model were before it."""
    COMPUTE = "compute"
    """In the model."""
    TRANSPORT = "transport"
    """What is left of the time until the answer was here: gRPC and the network. None in the same process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTimes:
    """Sums of one model on one kind of engine."""

    model: str
    engine: str
    requests: int
    slices: int
    failures: int
    """Runs that ended in an error; a cancelled one too."""
    seconds: Mapping[Part, float]


@dataclass(slots=True)
class _Sums:
    requests: int = 0
    slices: int = 0
    failures: int = 0
    seconds: dict[Part, float] = field(default_factory=lambda: defaultdict(float))


class InferenceTimes:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, str], _Sums] = defaultdict(_Sums)

    def add(self, model: str, engine: str, *, requests: int, slices: int, seconds: Mapping[Part, float]) -> None:
        """Requests that were answered, and what their time went into."""
        with self._lock:
            sums = self._sums[model, engine]
            sums.requests += requests
            sums.slices += slices
            for part, spent in seconds.items():
                sums.seconds[part] += spent

    def add_failure(self, model: str, engine: str) -> None:
        """A run that ended in an error."""
        with self._lock:
            self._sums[model, engine].failures += 1

    def read(self) -> tuple[ModelTimes, ...]:
        """All sums, by model."""
        with self._lock:
            return tuple(
                ModelTimes(
                    model=model,
                    engine=engine,
                    requests=sums.requests,
                    slices=sums.slices,
                    failures=sums.failures,
                    seconds=dict(sums.seconds),
                )
                for (model, engine), sums in sorted(self._sums.items())
            )
