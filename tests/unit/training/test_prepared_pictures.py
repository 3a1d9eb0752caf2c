"""Cases and phantoms as recipes want them, mirrored pictures, and batches drawn from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.training.augmentation import augment, found_lungs
from inference.training.batches import Batches
from inference.training.cases import Case
from inference.training.prepared_pictures import Pictures, mirrored_normals, phantom_cases, prepared, prepared_cases
from inference.training.recipes import QUICK, RECIPES, Preparation, Recipe, Target

RECIPE = Recipe(name="small", source="this test", size_px=64, widths=(4, 8), pace=replace(QUICK, batch=8))


def no_lungs(grey: np.ndarray) -> np.ndarray:
    return np.zeros_like(grey)


def everything(grey: np.ndarray) -> np.ndarray:
    return np.ones_like(grey)


def hounsfield_case(*, slices: int = 4) -> Case:
    """Air at the left, water at the right; lung everywhere but in the last slice."""
    array = np.full((slices, 256, 256), -1000, np.int16)
    array[:, :, 128:] = 0
    palette = np.ones(array.shape, np.uint8)
    palette[:, 100:120] = 2
    palette[-1] = 0
    return Case(name="someone", slices=array, palette=palette)


def test_slices_without_lung_are_left_out_for_lesions_only() -> None:
    assert len(prepared(hounsfield_case(), RECIPE, no_lungs)) == 3
    assert len(prepared(hounsfield_case(), replace(RECIPE, target=Target.LUNGS), no_lungs)) == 4


def test_the_lung_window_needs_hounsfield_units() -> None:
    recipe = replace(RECIPE, preparation=Preparation.LUNG_WINDOW, size_px=320)
    grey = prepared(hounsfield_case(), recipe, no_lungs).grey
    assert grey.shape == (3, 320, 320)
    assert (grey[:, :, :150] == 0).all()  # -1000 HU is below the window
    assert (grey[:, :, 170:] == 255).all()
    case = replace(hounsfield_case(), slices=np.full((4, 256, 256), 77, np.uint8))
    assert (prepared(case, recipe, no_lungs).grey == 77).all()  # without them the picture stays as it is


def test_percentiles_span_the_case() -> None:
    case = hounsfield_case()
    case.slices[:, 0, 0] = 3000  # metal, fewer than one pixel in a hundred
    recipe = replace(RECIPE, preparation=Preparation.PERCENTILES, size_px=256)
    grey = prepared(case, recipe, no_lungs).grey
    assert (grey[:, 1:, :128] == 0).all()
    assert (grey[:, :, 128:] == 255).all()


def test_patients_are_numbered_and_lungs_are_the_finders() -> None:
    pictures = prepared_cases([hounsfield_case(), hounsfield_case(slices=3)], RECIPE, everything)
    assert pictures.patient.tolist() == [0, 0, 0, 1, 1]
    assert pictures.lungs.shape == (5, 64, 64)
    assert pictures.lungs.all()


def test_phantoms_hold_lungs_with_and_without_lesions() -> None:
    infected, normal = phantom_cases(seeds=(0, 1), slices=6)
    assert infected.slices.shape == infected.palette.shape == (6, 256, 256)
    assert (infected.palette == 2).any()
    assert not (normal.palette >= 2).any()


def test_mirrored_pictures_keep_the_half_without_lesions() -> None:
    grey, palette = np.zeros((2, 1, 256, 256), np.uint8)
    grey[0] = np.arange(256)
    palette[0, 60:160, 40:110] = 1  # picture's left half: healthy
    palette[0, 60:160, 150:220] = 2
    pictures = Pictures(grey=grey, palette=palette, lungs=palette, patient=np.array([3]))
    mirrored = mirrored_normals(pictures)
    assert len(mirrored) == 1
    assert np.array_equal(mirrored.palette[0, :, 150:220], np.where(palette[0, :, 40:110], 1, 0))
    assert np.array_equal(mirrored.grey[0, :, 130:226], grey[0, :, 34:130][:, ::-1])
    assert mirrored.patient.tolist() == [3]
    palette[0, 60:160, 40:110] = 2
    assert len(mirrored_normals(pictures)) == 0


def striped(count: int, value: int, patient: int = 0) -> Pictures:
    grey = np.full((count, 64, 64), value, np.uint8)
    palette = np.zeros_like(grey)
    palette[:, :, 20:40] = 2
    return Pictures(grey=grey, palette=palette, lungs=palette // 2, patient=np.full(count, patient))


def test_batches_depend_on_seed_and_step_alone() -> None:
    recipe = replace(RECIPE, lung_channel=True)
    batches = Batches(recipe, striped(10, 100), None, torch.device("cpu"))
    first, other = batches.draw(3), batches.draw(4)
    again = Batches(recipe, striped(10, 100), None, torch.device("cpu")).draw(3)
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, other.inputs)
    assert first.inputs.shape == (8, 2, 48, 48)  # three quarters of the side
    assert first.target.shape == first.lungs.shape == (8, 1, 48, 48)
    assert set(first.inputs[:, 1].flatten().tolist()) <= {0.0, 1.0}


def test_batches_keep_the_shares() -> None:
    recipe = replace(RECIPE, phantom_share=0.25)
    phantoms = striped(3, 0)
    drawn = Batches(recipe, striped(10, 255), phantoms, torch.device("cpu")).draw(0).inputs
    assert sum(bool(one.mean() < 0.3) for one in drawn) == 2


def test_balanced_batches_favour_patients_with_few_pictures() -> None:
    many, few = striped(100, 255), replace(striped(1, 0), patient=np.array([1]))
    pictures = Pictures(
        **{
            name: np.concatenate([getattr(many, name), getattr(few, name)])
            for name in ("grey", "palette", "lungs", "patient")
        }
    )

    def dark(balanced: bool) -> int:
        batches = Batches(replace(RECIPE, balanced=balanced), pictures, None, torch.device("cpu"))
        return sum(int((batches.draw(step).inputs.mean(dim=(1, 2, 3)) < 0.3).sum()) for step in range(30))

    assert dark(balanced=True) > 3 * max(1, dark(balanced=False))


def test_augmentation_keeps_masks_and_picture_together() -> None:
    rows, columns = np.ogrid[:64, :64]
    disc = ((rows - 32) ** 2 + (columns - 32) ** 2 < 150).astype(np.float32)
    masks = torch.from_numpy(np.stack([disc, disc])[None]).repeat(6, 1, 1, 1)
    grey = torch.from_numpy(np.where(disc, 0.25, 0.7).astype(np.float32))[None, None].repeat(6, 1, 1, 1)
    changed, changed_masks = augment(grey, masks, torch.Generator().manual_seed(0), crop_px=64)
    assert changed.min() >= 0.0
    assert changed.max() <= 1.0
    assert torch.equal(changed_masks[:, 0], changed_masks[:, 1])
    assert set(changed_masks.flatten().tolist()) <= {0.0, 1.0}
    for one, mask in zip(changed[:, 0], changed_masks[:, 0], strict=True):
        inside = torch.nn.functional.max_pool2d(mask[None, None], 5, stride=1, padding=2)[0, 0]
        assert one[mask > 0].mean() < one[(inside == 0) & (one > 0)].mean()  # discs stay the dark part
    assert not torch.equal(masks, changed_masks)


def test_networks_learn_from_reference_lungs_and_from_found_ones() -> None:
    reference, found = torch.ones(40, 1, 9, 9), torch.zeros(40, 1, 9, 9)
    given = found_lungs(reference, found, torch.Generator().manual_seed(0))[:, 0, 4, 4]
    assert 8 < int(given.sum()) < 32


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipes_learn_from_other_phantoms_than_tests_and_demonstration(recipe: Recipe) -> None:
    assert all(seed >= 1000 for seed in recipe.phantom_seeds)
    assert recipe.source
