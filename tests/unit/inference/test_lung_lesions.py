"""The whole pipeline with the shipped weights: phantoms with and without lesions, and what is no chest."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.engines.embedded import EmbeddedEngine
from inference.findings import Findings, Region, Status
from inference.model import Model
from inference.models import InfectionUnet, LungsUnet
from inference.models.slice_preparation import INPUT, LUNGS
from inference.phantoms import Phantom, chest_ct
from inference.pipelines import PIPELINES, run_pipeline
from inference.volume import Volume

REPOSITORY = Path(__file__).parents[3] / "triton_models"


@pytest.fixture(scope="module")
def engine() -> EmbeddedEngine:
    return EmbeddedEngine(repository=REPOSITORY)


@pytest.fixture(scope="module")
def diseased() -> Phantom:
    return chest_ct(seed=3, slices=30, size_px=256)


@pytest.fixture(scope="module")
def findings(engine: EmbeddedEngine, diseased: Phantom) -> Findings:
    return run_pipeline("lung_lesions", diseased.volume, engine)


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_the_models_share_one_preparation() -> None:
    assert LungsUnet().spec.inputs == (INPUT,)
    assert InfectionUnet().spec.inputs == (INPUT, LUNGS)


def test_names_are_unique() -> None:
    assert len({pipeline.name for pipeline in PIPELINES}) == len(PIPELINES)


def test_a_diseased_phantom_is_positive_with_masks_near_the_truth(findings: Findings, diseased: Phantom) -> None:
    assert findings.status is Status.POSITIVE
    assert findings.reason == ""
    masks = {mask.region: mask.array_zyx for mask in findings.masks}
    assert _dice(masks[Region.LEFT_LUNG], diseased.left_lung) > 0.85
    assert _dice(masks[Region.RIGHT_LUNG], diseased.right_lung) > 0.85
    assert _dice(masks[Region.INFECTED_REGION], diseased.infected) > 0.55


def test_masks_and_numbers_agree(findings: Findings, diseased: Phantom) -> None:
    masks = {mask.region: mask.array_zyx for mask in findings.masks}
    left, right, infected = (masks[region] for region in Region)
    assert not (left & right).any()
    assert not (infected & ~(left | right)).any()
    shares = findings.involvement
    assert shares is not None
    assert shares.infected_ml == pytest.approx(infected.sum() * diseased.volume.voxel_ml)
    assert sum(lesion.volume_ml for lesion in findings.lesions) == pytest.approx(shares.infected_ml)
    assert [lesion.number for lesion in findings.lesions] == list(range(1, len(findings.lesions) + 1))
    assert [score.maximum for score in findings.severity] == [24]
    assert set(findings.timings_s) == {"prepare", "engine", "postprocess"}


@pytest.mark.parametrize("flips", [(0,), (2,)], ids=["slices down", "columns mirrored"])
def test_the_side_of_lesions_follows_the_patient(
    engine: EmbeddedEngine, diseased: Phantom, findings: Findings, flips: tuple[int, ...]
) -> None:
    affine = diseased.volume.index_to_patient.copy()
    for axis in flips:
        affine[:3, 3] += affine[:3, 2 - axis] * (diseased.volume.array_zyx.shape[axis] - 1)
        affine[:3, 2 - axis] *= -1
    turned = replace(
        diseased.volume, array_zyx=np.flip(diseased.volume.array_zyx, flips).copy(), index_to_patient=affine
    )

    again = run_pipeline("lung_lesions", turned, engine)

    masks = {mask.region: np.flip(mask.array_zyx, flips) for mask in again.masks}
    assert _dice(masks[Region.LEFT_LUNG], findings.masks[0].array_zyx) > 0.9
    assert _dice(masks[Region.RIGHT_LUNG], findings.masks[1].array_zyx) > 0.9


def _no_chest() -> dict[str, Volume]:
    rng = np.random.default_rng(9)
    affine = np.diag([1.5, 1.5, 5.0, 1.0])
    z, y, x = np.ogrid[:30, :160, :160]
    head = np.full((30, 160, 160), -1000.0)
    inside = ((x - 80) / 50) ** 2 + ((y - 80) / 60) ** 2 + ((z - 10) / 22) ** 2
    head[inside < 1] = 1100
    head[inside < 0.85] = 35
    volumes = {
        "noise": rng.integers(-1024, 1500, (30, 160, 160)).astype(np.int16),
        "air": np.full((30, 160, 160), -1000, np.int16),
        "one value": np.zeros((30, 160, 160), np.int16),
        "head": (head + rng.normal(0, 15, head.shape)).astype(np.int16),
        "abdomen": chest_ct(seed=3, slices=30, size_px=160).volume.array_zyx[:7],
        "one slice": chest_ct(seed=3, slices=1, size_px=160).volume.array_zyx,
    }
    return {
        name: Volume(array_zyx=array, index_to_patient=affine, frame_of_reference_uid="2.25.1")
        for name, array in volumes.items()
    }


@pytest.mark.parametrize("name", ["noise", "air", "one value", "head", "abdomen", "one slice"])
def test_what_is_no_chest_is_not_analysed_and_says_why(engine: EmbeddedEngine, name: str) -> None:
    findings = run_pipeline("lung_lesions", _no_chest()[name], engine)
    assert findings.status is Status.NOT_ANALYSED
    assert "no lungs found" in findings.reason
    assert findings.masks == ()
    assert len(findings.models) == 2


def test_slices_that_are_not_axial_are_not_analysed(engine: EmbeddedEngine, diseased: Phantom) -> None:
    coronal = diseased.volume.index_to_patient[:, [0, 2, 1, 3]]
    findings = run_pipeline("lung_lesions", replace(diseased.volume, index_to_patient=coronal), engine)
    assert findings.status is Status.NOT_ANALYSED
    assert "not axial" in findings.reason


@pytest.mark.parametrize("model", [LungsUnet(), InfectionUnet()], ids=lambda model: model.spec.name)
def test_the_shipped_weights_fit_their_specification(engine: EmbeddedEngine, model: Model) -> None:
    inputs = {tensor.name: np.zeros((1, *tensor.shape), tensor.dtype) for tensor in model.spec.inputs}
    outputs = engine.run(model.spec, inputs)
    assert {name: array.shape for name, array in outputs.items()} == {
        output.name: (1, *output.shape) for output in model.spec.outputs
    }
