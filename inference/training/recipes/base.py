"""Everything that decides the weights of a network, besides the data."""

from dataclasses import dataclass, replace
from enum import Enum

from inference.training.losses import Loss


class Target(Enum):
    """What the network should mark."""

    LUNGS = "lungs"
    LESIONS = "lesions"


class Preparation(Enum):
    """How a slice becomes grey levels. Pictures that lost their Hounsfield units are equalised already and stay so."""

    EQUALISED = "equalised"
    """As ``inference.models.slice_preparation``: what serves."""
    LUNG_WINDOW = "lung window"
    """−970 to −150 HU (S0)."""
    PERCENTILES = "percentiles"
    """From the 1st to the 99th percentile of the case (S3)."""


class Schedule(Enum):
    """How the learning rate moves."""

    ONE_CYCLE = "one cycle"
    """Up and down once over all steps; decides itself when to stop. For short trainings."""
    PLATEAU = "plateau"
    """A tenth after ``decay_after`` validations without gain, the end after ``stop_after``: as the papers do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Steps and learning rate."""

    schedule: Schedule
    learning_rate: float
    """Highest."""
    steps: int
    """At most."""
    batch: int
    validate_every: int = 100
    """Steps. The best weights are kept."""
    decay_after: int = 5
    """Validations."""
    stop_after: int = 10
    """Validations without a better one, for ``PLATEAU``."""


QUICK = Pace(schedule=Schedule.ONE_CYCLE, learning_rate=3e-3, steps=400, batch=12)
"""What two CPU cores train in minutes: for comparing recipes under the same conditions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Numbers of one training run. ``paper`` is the pace that the authors trained at."""

    name: str
    source: str
    target: Target = Target.LESIONS
    size_px: int = 256
    widths: tuple[int, ...] = (16, 32, 64, 128, 192)
    """1.6 million weights: 6 MB."""
    dropout: float = 0.0
    lung_channel: bool = False
    """The lung mask is the network's second input."""
    preparation: Preparation = Preparation.EQUALISED
    loss: Loss = Loss.CROSS_ENTROPY_AND_DICE
    total_variation_weight: float = 0.0
    paper: Pace = QUICK
    pace: Pace = QUICK
    weight_decay: float = 1e-4
    crop: float = 0.75
    """Side of the random square that is trained on, as a share of the picture: more pictures in the same time."""
    phantom_seeds: tuple[int, ...] = ()
    """Phantoms made for training. The demonstration and the tests use seeds below 1000."""
    phantom_slices: int = 24
    phantom_share: float = 0.0
    """Of every batch. They bring what the public pictures lack: lungs without lesions, apices, bases, abdomen."""
    mirrored_share: float = 0.0
    """Of every batch: real pictures whose lesions were mirrored away (``prepared_pictures.mirrored_normals``)."""
    balanced: bool = False
    """Patients are drawn by the root of their number of pictures, not by the number."""
    starts_from: str = ""
    """The recipe whose weights this one begins with; empty: random ones."""
    average: bool = False
    """Validate and keep a running average of the weights instead of the last ones."""
    last_weights: bool = False
    """Keep the last weights rather than those with the best validation at one half, which is no fair threshold for a
    network that minimises cross-entropy alone."""
    seed: int = 1

    @property
    def channels(self) -> int:
        """Inputs of the network."""
        return 2 if self.lung_channel else 1

    def at(self, pace: Pace, *, steps: int | None = None, seed: int | None = None) -> "Recipe":
        """The same recipe at another pace, length or seed."""
        pace = pace if steps is None else replace(pace, steps=steps, validate_every=min(pace.validate_every, steps))
        return replace(self, pace=pace, seed=self.seed if seed is None else seed)


TRAINING_SEEDS = tuple(range(1000, 1030))
"""Of phantoms."""
