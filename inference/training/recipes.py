"""The shipped recipes: everything that decides the weights of a model, besides the data.

One recipe a model. Both fit in 60 minutes on two CPU cores with bfloat16 (AVX-512 or AMX); a GPU is used when there
is one. Loss: binary cross-entropy plus soft Dice; AdamW; cycles of the learning rate, each from the best weights of
the one before.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """One rise and fall of the learning rate."""

    steps: int
    learning_rate: float = 3e-3
    """Highest."""
    mirrored_share: float = 0.0
    """Of every batch: real pictures whose lesions were mirrored away (``pictures.mirrored_normals``)."""
    average: bool = False
    """Validate and keep a running average of the weights instead of the last ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Numbers of one training run."""

    model: str
    widths: tuple[int, ...] = (16, 32, 64, 128, 192)
    """1.6 million weights: 6 MB."""
    cycles: tuple[Cycle, ...]
    batch: int = 12
    weight_decay: float = 1e-4
    phantom_seeds: tuple[int, ...] = tuple(range(1000, 1030))
    """Phantoms made for training. The demonstration and the tests use other seeds."""
    phantom_slices: int = 24
    phantom_share: float = 0.3
    """Of every batch. They bring what the public pictures lack: lungs without lesions, apices, bases, abdomen."""
    validate_every: int = 100
    """Steps between validations; the best weights are kept."""
    seed: int = 1


RECIPES: dict[str, Recipe] = {
    "lungs_unet": Recipe(model="lungs_unet", cycles=(Cycle(steps=280),)),
    "infection_unet": Recipe(
        model="infection_unet",
        cycles=(Cycle(steps=1100), Cycle(steps=600, learning_rate=1.5e-3, mirrored_share=0.25, average=True)),
    ),
}
