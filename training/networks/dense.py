"""Vanilla GAN: a multilayer perceptron on both sides (Goodfellow et al. 2014, section 5)."""

from itertools import pairwise

from torch import nn

from serving.inference.image_shape import Resolution
from training.networks.base import Backbone, dropout
from training.networks.upsampling import initialise

DEFAULT_DEPTH = 2  # hidden layers


def generator_layers(
    inputs: int, resolution: Resolution, channels: int, width: int, depth: int | None = None, dropout_rate: float = 0.0
) -> nn.Sequential:
    """[N, inputs] -> [N, channels, height, width] in [-1, 1], through `depth` layers of `width` units."""
    layers: list[nn.Module] = []
    for features_in, features_out in pairwise([inputs] + [width] * (depth or DEFAULT_DEPTH)):
        layers += [nn.Linear(features_in, features_out), nn.LeakyReLU(0.2, True), *dropout(dropout_rate)]
    layers += [nn.Linear(width, channels * resolution.pixels), nn.Tanh()]
    layers.append(nn.Unflatten(1, (channels, *resolution)))
    return nn.Sequential(*layers).apply(initialise)


def discriminator_backbone(
    channels: int, resolution: Resolution, width: int, depth: int | None = None, dropout_rate: float = 0.0
) -> Backbone:
    """[N, channels, height, width] -> [N, width, 1, 1] through `depth` layers of `width` units."""
    layers: list[nn.Module] = [nn.Flatten()]
    for features_in, features_out in pairwise([channels * resolution.pixels] + [width] * (depth or DEFAULT_DEPTH)):
        layers += [nn.Linear(features_in, features_out), nn.LeakyReLU(0.2, True), *dropout(dropout_rate)]
    layers.append(nn.Unflatten(1, (width, 1, 1)))
    return Backbone(nn.Sequential(*layers).apply(initialise), width, _head)


def _head(channels: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(channels, 1)).apply(initialise)
