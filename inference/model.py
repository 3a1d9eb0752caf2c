"""What a served model is: its tensors, its preparation and the meaning of its labels.

Owns ``ModelSpec`` and the ``Model`` protocol. The specification is the contract between training, the
exported graph, the engines and Triton's ``config.pbtxt``; a test holds them against each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from inference.volume import Volume

Tensors = Mapping[str, NDArray[Any]]
"""Named tensors; the first axis of each is the batch (slices)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output tensor."""

    name: str
    dtype: str
    """NumPy name of the type on the wire, e.g. "float16", "uint8"."""
    shape: tuple[int, ...]
    """Without the batch axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The fixed facts of one served model.

    ``labels`` names each value of the label output, index = value, 0 = background.
    ``source`` cites the paper or recipe.
    """

    name: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    source: str
    trained_on: str
    licence: str


class Model(Protocol):
    """One served model: turns output tensors into arrays on a volume's grid.

    Each model has its own ``prepare`` as well, from what it looks at (a volume; slices and their lungs) to its inputs.
    """

    @property
    def spec(self) -> ModelSpec:
        """The model's fixed facts."""
        ...

    def interpret(self, outputs: Tensors, volume: Volume) -> NDArray[Any]:
        """Labels (uint8, shape of ``volume.array_zyx``) from the output tensors of the whole volume."""
        ...
