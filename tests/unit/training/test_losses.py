"""The losses on masks whose values are known."""

import pytest
import torch

from inference.training.losses import Loss, segmentation_loss, total_variation


def square(size: int) -> torch.Tensor:
    """A square over the middle half of the picture."""
    mask = torch.zeros(1, 1, size, size)
    mask[:, :, size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 1
    return mask


@pytest.mark.parametrize("size", [64, 128, 320])
def test_total_variation_is_the_outline_at_every_size(size: int) -> None:
    assert total_variation(square(size)).item() == pytest.approx(4 * 0.5)  # picture widths


def test_total_variation_prefers_one_region_to_many() -> None:
    one, many = torch.zeros(2, 1, 1, 32, 32)
    one[:, :, 8:16, 8:16] = 1
    many[:, :, ::4, ::4] = 1
    assert one.sum() == many.sum()
    assert total_variation(many) > 5 * total_variation(one)


def test_its_weight_is_added() -> None:
    logits, target = 8 * (square(64) - 0.5), square(64)
    plain = segmentation_loss(Loss.CROSS_ENTROPY, logits, target, target)
    with_term = segmentation_loss(Loss.CROSS_ENTROPY, logits, target, target, total_variation_weight=0.5)
    assert (with_term - plain).item() == pytest.approx(0.5 * total_variation(torch.sigmoid(logits)).item(), rel=1e-4)


def test_dice_inside_the_lungs_does_not_look_outside() -> None:
    lungs, target = square(64), square(64)
    right = torch.where(target > 0, 10.0, -10.0)
    wrong_outside = torch.full_like(right, 10.0)
    inside = segmentation_loss(Loss.DICE_INSIDE_LUNGS, right, target, lungs)
    assert segmentation_loss(Loss.DICE_INSIDE_LUNGS, wrong_outside, target, lungs) == pytest.approx(inside.item())
    assert inside.item() == pytest.approx(0.0, abs=1e-3)
    both = [segmentation_loss(Loss.CROSS_ENTROPY_AND_DICE, one, target, lungs).item() for one in (right, wrong_outside)]
    assert both[1] > both[0] + 0.5


def test_a_batch_without_foreground_has_a_loss() -> None:
    empty = torch.zeros(2, 1, 32, 32)
    for kind in Loss:
        assert torch.isfinite(segmentation_loss(kind, empty, empty, empty))
