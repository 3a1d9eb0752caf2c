"""Pipelines: which models run on a volume, in which order, and to which findings.

``PIPELINES`` is the table of contents; ``config/pipelines.toml`` says which series feed which pipeline.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from inference.engines.base import Engine
from inference.findings import Findings
from inference.model import Model
from inference.pipelines.lung_lesions import LungLesions
from inference.pipelines.pulmonary_embolism import PulmonaryEmbolism
from inference.volume import Volume


class Pipeline(Protocol):
    """From one volume to findings. Raises ``EngineError`` only; what it cannot read it says in its findings."""

    @property
    def name(self) -> str:
        """As settings and results name it."""
        ...

    @property
    def models(self) -> tuple[Model, ...]:
        """What it runs."""
        ...

    def run(self, volume: Volume, engine: Engine, *, cancelled: Callable[[], bool] | None = None) -> Findings:
        """Findings on the volume's grid. ``cancelled`` is asked between batches of slices."""
        ...


PIPELINES: tuple[Pipeline, ...] = (PulmonaryEmbolism(), LungLesions())


def models_of(names: Iterable[str]) -> tuple[Model, ...]:
    """The models that pipelines of these names run, each once a pipeline; none of a name that is unknown."""
    return tuple(
        model for name in names for pipeline in PIPELINES if pipeline.name == name for model in pipeline.models
    )


def run_pipeline(name: str, volume: Volume, engine: Engine, *, cancelled: Callable[[], bool] | None = None) -> Findings:
    """Run the pipeline of that name. Raises ``KeyError`` for an unknown one, ``EngineError`` where a model fails."""
    return {pipeline.name: pipeline for pipeline in PIPELINES}[name].run(volume, engine, cancelled=cancelled)
