"""DCGAN (Radford et al. 2015), in the two forms that public code made popular.

kernel 4: transposed convolutions alone, as in the PyTorch tutorial.
kernel 5: a dense first layer, 5x5 kernels, biases in the discriminator.

Neither family says what to do with classes. Here the generator sees an embedding of the class beside z, and
the discriminator adds the inner product of its features, summed over places, with an embedding (Miyato and
Koyama 2018, eq. 3).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

WIDEST = 8  # the widest layer has this many times the width of the narrowest, as at 64 px in the paper


def pyramid(resolution: int) -> tuple[int, int]:
    """The side of the smallest feature map and how often it doubles: 64 -> (4, 4), 28 -> (7, 2), 96 -> (6, 4)."""
    side, doublings = resolution, 0
    while side % 2 == 0 and side > 7:
        side, doublings = side // 2, doublings + 1
    return side, doublings


def layer_widths(width: int, doublings: int) -> list[int]:
    """Channels of each feature map, from the widest (smallest map) to `width`."""
    return [width * min(2**level, WIDEST) for level in reversed(range(doublings))]


class Generator(nn.Module):
    """z [N, latent_dim], label [N] -> images [N, channels, resolution, resolution] in [-1, 1]."""

    def __init__(self, resolution: int, channels: int, classes: int, latent_dim: int, width: int, kernel: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, latent_dim) if classes else None
        side, doublings = pyramid(resolution)
        widths = layer_widths(width, doublings)
        inputs = 2 * latent_dim if classes else latent_dim
        layers = _dense_stem(inputs, widths[0], side) if kernel == 5 else _convolution_stem(inputs, widths[0], side)
        for narrow_in, narrow_out in pairwise(widths):
            layers += [_double(narrow_in, narrow_out, kernel, bias=False), nn.BatchNorm2d(narrow_out), nn.ReLU(True)]
        layers += [_double(widths[-1], channels, kernel, bias=kernel == 5), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(_initialise)
        if self.embedding is not None:
            # At the scale of z the class drowns it: the network learns one picture a class and lets z go.
            nn.init.normal_(self.embedding.weight, 0.0, 0.1)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            z = torch.cat([z, self.embedding(label)], dim=1)
        images: Tensor = self.layers(z)
        return images


class Discriminator(nn.Module):
    """images [N, channels, resolution, resolution] in [-1, 1], label [N] -> logits [N]."""

    def __init__(self, resolution: int, channels: int, classes: int, width: int, kernel: int) -> None:
        super().__init__()
        side, doublings = pyramid(resolution)
        widths = layer_widths(width, doublings)[::-1]
        bias = kernel == 5
        layers: list[nn.Module] = [_halve(channels, width, kernel, bias), nn.LeakyReLU(0.2, True)]
        for wide_in, wide_out in pairwise(widths):
            layers += [_halve(wide_in, wide_out, kernel, bias), nn.BatchNorm2d(wide_out), nn.LeakyReLU(0.2, True)]
        self.features = nn.Sequential(*layers)
        self.logit = nn.Conv2d(widths[-1], 1, side, bias=bias)
        self.embedding = nn.Embedding(classes, widths[-1]) if classes else None
        self.apply(_initialise)
        if self.embedding is not None:
            # At zero the projection starts out neutral: the classes enter as far as they help.
            nn.init.zeros_(self.embedding.weight)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        features = self.features(images)
        logits: Tensor = self.logit(features).flatten()
        if self.embedding is not None:
            logits = logits + (self.embedding(label) * features.sum(dim=(2, 3))).sum(dim=1)
        return logits


def _convolution_stem(inputs: int, width: int, side: int) -> list[nn.Module]:
    """[N, inputs] -> [N, width, side, side] by one transposed convolution."""
    return [
        nn.Unflatten(1, (inputs, 1, 1)),
        nn.ConvTranspose2d(inputs, width, side, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(True),
    ]


def _dense_stem(inputs: int, width: int, side: int) -> list[nn.Module]:
    """[N, inputs] -> [N, width, side, side] by a dense layer, normalised unit by unit."""
    units = width * side * side
    return [
        nn.Linear(inputs, units, bias=False),
        nn.BatchNorm1d(units),
        nn.ReLU(True),
        nn.Unflatten(1, (width, side, side)),
    ]


def _double(channels_in: int, channels_out: int, kernel: int, bias: bool) -> nn.ConvTranspose2d:
    """A transposed convolution that doubles the side; the odd kernel needs one more row and column."""
    extra = kernel % 2
    padding = (kernel - 2 + extra) // 2
    return nn.ConvTranspose2d(channels_in, channels_out, kernel, 2, padding, output_padding=extra, bias=bias)


def _halve(channels_in: int, channels_out: int, kernel: int, bias: bool) -> nn.Conv2d:
    """A convolution that halves the side."""
    return nn.Conv2d(channels_in, channels_out, kernel, 2, (kernel - 1) // 2, bias=bias)


def _initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02), batch-norm gains from N(1, 0.02) (Radford et al. 2015, section 4)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
