"""When a batch fails, the others are ended before anybody hears of it.

OpenVINO gives no way to make one fail on purpose, so its part is played here.
"""

import numpy as np
import pytest

from inference.engines.embedded import BATCH, _stream


class Request:
    def __init__(self, fails: bool, running: set[int]) -> None:
        self._fails, self._running = fails, running

    def start_async(self, _: object) -> None:
        self._running.add(id(self))

    def cancel(self) -> None:
        assert id(self) in self._running

    def wait(self) -> None:
        self._running.discard(id(self))
        if self._fails:
            raise RuntimeError("out of memory")


class Compiled:
    """Three streams, all of which fail."""

    def __init__(self) -> None:
        self.running: set[int] = set()

    def get_property(self, _: str) -> int:
        return 3

    def create_infer_request(self) -> Request:
        return Request(True, self.running)


def test_no_batch_is_running_after_a_failure() -> None:
    compiled, rows = Compiled(), 5 * BATCH
    with pytest.raises(RuntimeError, match="out of memory"):
        _stream(compiled, {"hu": np.zeros((rows, 1))}, {"labels": np.zeros((rows, 1))}, rows, lambda: False)  # type: ignore[arg-type]
    assert not compiled.running
