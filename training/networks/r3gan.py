"""The network of R3GAN (Huang et al. 2024, section 4): residual blocks, no normalisation, no tanh.

A block widens, convolves in groups and narrows again; its last convolution starts at zero, so that every
block starts out as the identity.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from training.networks.base import Backbone, dropout, single_precision
from training.pyramid import layer_widths, pyramid

DEPTH = 2  # blocks a resolution, unless params.yaml says otherwise
GROUP = 16  # channels a group
SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the variance through a leaky ReLU (He et al. 2015, eq. 14)


class ResidualBlock(nn.Module):
    """[N, C, H, W] -> [N, C, H, W]: x + narrow(groups(widen(x))).

    blocks: residual blocks in the whole network, which scale the first weights (Zhang et al. 2019, "Fixup").
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        inner = 2 * channels
        gain = GAIN * blocks**-0.25
        self.layers = nn.Sequential(
            _drawn(nn.Conv2d(channels, inner, 1, bias=False), gain),
            BiasedLeakyReLU(inner),
            _drawn(nn.Conv2d(inner, inner, 3, padding=1, groups=inner // GROUP, bias=False), gain),
            BiasedLeakyReLU(inner),
            _drawn(nn.Conv2d(inner, channels, 1, bias=False), 0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.layers(x)
        return x + change


class BiasedLeakyReLU(nn.Module):
    """Adds a bias a channel, then a leaky ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(x + self.bias, SLOPE)


class Resample(nn.Module):
    """Doubles or halves the side with the filter [1, 3, 3, 1] of StyleGAN2 (Karras et al. 2020) and sets the width."""

    kernel: Tensor

    def __init__(self, channels_in: int, channels_out: int, doubles: bool) -> None:
        super().__init__()
        self.doubles = doubles
        self.register_buffer("kernel", _binomial() * (4 if doubles else 1), persistent=False)
        self.width: nn.Module = nn.Identity()
        if channels_in != channels_out:
            self.width = _drawn(nn.Conv2d(channels_in, channels_out, 1, bias=False), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        if self.doubles:  # the width first where maps are small
            x = self.width(x)
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        resample = conv_transpose2d if self.doubles else conv2d
        x = resample(x, kernel, stride=2, padding=1, groups=channels)
        wide: Tensor = x if self.doubles else self.width(x)
        return wide


class SinglePrecision(nn.Sequential):
    """Layers that compute in float32 under autocast too, as R3GAN's stage of the smallest maps does.

    Those maps are what the logit is read from and what an image grows from: bf16 would round them to 8 bits.
    """

    def forward(self, x: Tensor) -> Tensor:
        with single_precision(x) as unrounded:
            for layer in self:
                unrounded = layer(unrounded)
            return unrounded


class GenerativeBasis(nn.Module):
    """[N, inputs] -> [N, channels, side, side]: learned maps, weighted by a linear function of the inputs."""

    def __init__(self, inputs: int, channels: int, side: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(channels, side, side))
        self.weigh = _drawn(nn.Linear(inputs, channels, bias=False), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.weigh(x)
        return self.maps * weights[:, :, None, None]


def generator_layers(
    inputs: int,
    resolution: int,
    channels: int,
    width: int,
    depth: int | None = None,
    widths: Sequence[int] | None = None,
    dropout_share: float = 0.0,
) -> nn.Sequential:
    """[N, inputs] -> [N, channels, resolution, resolution], unbounded.

    widths: channels at each resolution, the smallest first; None doubles `width` from the largest resolution down.
    """
    side, doublings = pyramid(resolution)
    widths = widths or layer_widths(width, doublings + 1)
    layers: list[nn.Module] = [SinglePrecision(GenerativeBasis(inputs, widths[0], side))]
    layers.append(SinglePrecision(*_blocks(widths[0], depth, len(widths), dropout_share)))
    for before, after in pairwise(widths):
        layers += [Resample(before, after, doubles=True), *_blocks(after, depth, len(widths), dropout_share)]
    layers.append(_drawn(nn.Conv2d(widths[-1], channels, 1, bias=False), 1.0))
    return nn.Sequential(*layers)


def discriminator_backbone(
    channels: int,
    resolution: int,
    width: int,
    depth: int | None = None,
    widths: Sequence[int] | None = None,
    dropout_share: float = 0.0,
) -> Backbone:
    """The generator's mirror image, which ends in a depthwise convolution over what is left of the side.

    widths: as the generator's, the smallest resolution first.
    """
    side, doublings = pyramid(resolution)
    widths = list(reversed(widths or layer_widths(width, doublings + 1)))
    layers: list[nn.Module] = [_drawn(nn.Conv2d(channels, widths[0], 1, bias=False), 1.0)]
    for before, after in pairwise(widths):
        layers += [*_blocks(before, depth, len(widths), dropout_share), Resample(before, after, doubles=False)]
    layers.append(SinglePrecision(*_blocks(widths[-1], depth, len(widths), dropout_share)))
    return Backbone(nn.Sequential(*layers), widths[-1], partial(_logit, side=side))


def _logit(channels: int, side: int) -> nn.Module:
    return nn.Sequential(
        _drawn(nn.Conv2d(channels, channels, side, groups=channels, bias=False), 1.0),
        nn.Flatten(),
        _drawn(nn.Linear(channels, 1, bias=False), 1.0),
    )


def _blocks(channels: int, depth: int | None, levels: int, dropout_share: float) -> list[nn.Module]:
    """The blocks of one resolution."""
    depth = depth or DEPTH
    blocks: list[nn.Module] = [ResidualBlock(channels, depth * levels) for _ in range(depth)]
    return [*blocks, *dropout(dropout_share)]


def _drawn(layer: nn.Conv2d | nn.Linear, gain: float) -> nn.Module:
    """The layer with weights from N(0, gain / sqrt(fan_in))."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    return layer


def _binomial() -> Tensor:
    """The filter [1, 3, 3, 1] in both directions, of sum 1."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(line, line) / line.sum() ** 2
