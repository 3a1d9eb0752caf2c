"""What the time of requests to a Triton server went into: its queue, its model, the way there and back.

A response does not say; the server counts queue and compute for each model, of all its clients together. So the counts
are read before the first and after the last request of a run, and their mean over that time is taken for the requests
of this run; what is left of their round trips is transport. Exact while nobody else asks for the same model, and as
good as any mean otherwise.
"""

from dataclasses import dataclass

from inference.engines.times import InferenceTimes, Part
from inference.engines.triton_peer import CallFailed, Counted, TritonPeer
from inference.model import ModelSpec

ENGINE = "triton"
"""Its name in metrics."""


@dataclass(slots=True, kw_only=True)
class Stay:
    """Requests of one run at one server."""

    before: Counted | None
    """``None``: the server did not tell."""
    requests: int = 0
    slices: int = 0
    round_trips_s: float = 0.0

    @classmethod
    def begun(cls, peer: TritonPeer, spec: ModelSpec) -> "Stay":
        """Before the first request."""
        return cls(before=_counted(peer, spec))

    def answered(self, slices: int, round_trip_s: float) -> None:
        """One request came back with its outputs."""
        self.requests += 1
        self.slices += slices
        self.round_trips_s += round_trip_s

    def add_to(self, times: InferenceTimes, spec: ModelSpec, peer: TritonPeer) -> None:
        """After the last request. Without counts, or where the model was loaded anew, the time is not divided."""
        seconds: dict[Part, float] = {}
        after = _counted(peer, spec)
        if self.before is not None and after is not None and after.requests > self.before.requests:
            share = self.requests / (after.requests - self.before.requests)
            queue_s = (after.queue_s - self.before.queue_s) * share
            compute_s = (after.compute_s - self.before.compute_s) * share
            left_s = max(self.round_trips_s - queue_s - compute_s, 0.0)
            seconds = {Part.QUEUE: queue_s, Part.COMPUTE: compute_s, Part.TRANSPORT: left_s}
        times.add(spec.name, ENGINE, requests=self.requests, slices=self.slices, seconds=seconds)


def _counted(peer: TritonPeer, spec: ModelSpec) -> Counted | None:
    try:
        return peer.counted(spec)
    except CallFailed:
        return None
