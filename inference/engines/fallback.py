"""Two engines as one: while the first is away, the second runs the same models. For who rather waits less than long.

Both are held to the same weights by their digests, so that results name the same models either way.
"""

from collections.abc import Callable, Sequence

import structlog

from inference.engines.base import Engine, EngineUnavailable
from inference.findings import ModelIdentity
from inference.model import ModelSpec, Tensors

log = structlog.get_logger(__name__)


class FallbackEngine(Engine):
    """``first`` wherever it is there, ``second`` where it is not (see ``inference.engines.base.Engine``)."""

    def __init__(self, first: Engine, second: Engine) -> None:
        self._first = first
        self._second = second

    def identity(self, spec: ModelSpec) -> ModelIdentity:
        """Of the second: the first runs only weights of the same digest. Raises ``EngineError``."""
        return self._second.identity(spec)

    def run(self, spec: ModelSpec, inputs: Tensors, *, cancelled: Callable[[], bool] | None = None) -> Tensors:
        """Outputs of the first, or of the second while the first is unavailable. Raises ``EngineError``."""
        try:
            return self._first.run(spec, inputs, cancelled=cancelled)
        except EngineUnavailable as away:
            log.warning("engine_fell_back", model=spec.name, reason=str(away))
            return self._second.run(spec, inputs, cancelled=cancelled)

    def health(self, needed: Sequence[ModelSpec] | None = None) -> str:
        """Of the second: no study waits for the first."""
        return self._second.health(needed)

    def close(self) -> None:
        """Free the models of both."""
        self._first.close()
        self._second.close()
