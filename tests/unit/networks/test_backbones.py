"""The backbones are the published networks: their sizes, and what comes out of them."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from inference.networks import densenet, efficientnet, mobilenet_v2, resnet
from inference.networks.mobilenet_v2 import MobileNetV2, mobilenet_v2_features
from inference.networks.slice_classifier import SliceClassifier

IMAGENET_CLASSES = 1000
PUBLISHED = {
    "MobileNetV2": (lambda: mobilenet_v2_features(normalised=True), mobilenet_v2.LAST, 3_504_872),
    "ResNet50": (resnet.resnet50_features, resnet.LAST, 25_557_032),
    "DenseNet121": (densenet.densenet121_features, densenet.LAST, 7_978_856),
    "EfficientNet-B0": (efficientnet.efficientnet_b0_features, efficientnet.LAST, 5_288_548),
}
"""Trainable parameters with the usual head: one dense layer from the mean of the features to 1000 classes."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name: str) -> None:
    made, channels, published = PUBLISHED[name]
    with torch.device("meta"):
        features = made()
    assert sum(one.numel() for one in features.parameters()) + (channels + 1) * IMAGENET_CLASSES == published


@pytest.mark.parametrize("name", PUBLISHED)
def test_features_are_a_thirty_second_of_the_picture_and_differ_with_it(name: str) -> None:
    made, channels, _ = PUBLISHED[name]
    torch.manual_seed(2)
    features = made().train()(torch.randn(2, 3, 64, 96))
    assert features.shape == (2, channels, 2, 3)
    assert float((features[0] - features[1]).abs().mean().detach()) > 0.01


def small(classifier: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in classifier().state_dict().items()}


def test_the_served_network_has_no_normalisation_and_the_same_head() -> None:
    served = small(MobileNetV2)
    normalised = small(lambda: SliceClassifier(mobilenet_v2_features(normalised=True), mobilenet_v2.LAST))
    assert not any("normalisation" in name for name in served)
    assert any("running_mean" in name for name in normalised)
    head = [name for name in served if not name.startswith("features")]
    assert {name: served[name] for name in head} == {name: normalised[name] for name in head}
    assert served["hidden.weight"] == (512, 2 * 1280)
    assert served["predict.weight"] == (2, 512)


def test_a_block_that_keeps_its_shape_adds_its_input() -> None:
    """With its last normalisation at nought every block is the identity, or the projection beside it."""
    torch.manual_seed(3)
    features = torch.rand(1, 256, 4, 4)
    block = resnet.Bottleneck(256, 64, stride=1).eval()
    nn.init.zeros_(block.widen[1].weight)
    assert torch.equal(block(features), features)
    inverted = efficientnet.InvertedResidual(24, 24, expansion=6, kernel=3, stride=1).eval()
    nn.init.zeros_(inverted.layers[3][1].weight)
    assert torch.equal(inverted(features[:, :24]), features[:, :24])
    grown = densenet.DenseLayer(256).eval()(features)
    assert torch.equal(grown[:, :256], features)
    assert grown.shape[1] == 256 + densenet.GROWTH
