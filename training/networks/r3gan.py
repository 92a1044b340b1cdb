"""R3GAN (Huang et al. 2024, section 4): residual blocks, no normalisation, no tanh.

A block is an inverted bottleneck with a grouped convolution; its last convolution is zero-initialised, so that every
block starts as the identity.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from serving.inference.image_shape import Resolution
from training.networks.base import Backbone, autocast_disabled, dropout
from training.pyramid import layer_widths, pyramid

DEFAULT_DEPTH = 2  # blocks per resolution
GROUP_CHANNELS = 16  # channels per group of the 3x3 convolutions
SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # preserves the variance through a leaky ReLU (He et al. 2015, eq. 14)


class ResidualBlock(nn.Module):
    """[N, C, H, W] -> [N, C, H, W]: x + contract(grouped(expand(x))).

    blocks: residual blocks in the whole network, which scale the initial weights (Zhang et al. 2019, "Fixup").
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        hidden = 2 * channels
        gain = GAIN * blocks**-0.25
        self.layers = nn.Sequential(
            _initialised(nn.Conv2d(channels, hidden, 1, bias=False), gain),
            BiasedLeakyReLU(hidden),
            _initialised(nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden // GROUP_CHANNELS, bias=False), gain),
            BiasedLeakyReLU(hidden),
            _initialised(nn.Conv2d(hidden, channels, 1, bias=False), 0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.layers(x)
        return x + residual


class BiasedLeakyReLU(nn.Module):
    """Per-channel bias, then a leaky ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(x + self.bias, SLOPE)


class Resample(nn.Module):
    """Up- or downsampling by 2 with StyleGAN2's [1, 3, 3, 1] filter (Karras et al. 2020), and a change of width."""

    kernel: Tensor

    def __init__(self, channels_in: int, channels_out: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.register_buffer("kernel", _binomial_filter() * (4 if up else 1), persistent=False)
        self.width: nn.Module = nn.Identity()
        if channels_in != channels_out:
            self.width = _initialised(nn.Conv2d(channels_in, channels_out, 1, bias=False), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        if self.up:  # change the width at the smaller resolution
            x = self.width(x)
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        resample = conv_transpose2d if self.up else conv2d
        x = resample(x, kernel, stride=2, padding=1, groups=channels)
        resampled: Tensor = x if self.up else self.width(x)
        return resampled


class Float32Sequential(nn.Sequential):
    """Layers that run in float32 even under autocast, as R3GAN runs its stage of the lowest resolution.

    The logit is computed from its feature maps and the image is built from them: bf16 would round them to 8 bits.
    """

    def forward(self, x: Tensor) -> Tensor:
        with autocast_disabled(x) as x32:
            for layer in self:
                x32 = layer(x32)
            return x32


class GenerativeBasis(nn.Module):
    """[N, inputs] -> [N, channels, H, W]: learned feature maps, weighted by a linear function of the inputs."""

    def __init__(self, inputs: int, channels: int, size: Resolution) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(channels, *size))
        self.weigh = _initialised(nn.Linear(inputs, channels, bias=False), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.weigh(x)
        return self.maps * weights[:, :, None, None]


def generator_layers(
    inputs: int,
    resolution: Resolution,
    channels: int,
    width: int,
    depth: int | None = None,
    widths: Sequence[int] | None = None,
    dropout_rate: float = 0.0,
) -> nn.Sequential:
    """[N, inputs] -> [N, channels, height, width], unbounded.

    widths: channels at each resolution, lowest first; None doubles `width` from the highest resolution down.
    """
    smallest, doublings = pyramid(resolution)
    widths = widths or layer_widths(width, doublings + 1)
    layers: list[nn.Module] = [Float32Sequential(GenerativeBasis(inputs, widths[0], smallest))]
    layers.append(Float32Sequential(*_blocks(widths[0], depth, len(widths), dropout_rate)))
    for channels_in, channels_out in pairwise(widths):
        layers += [
            Resample(channels_in, channels_out, up=True),
            *_blocks(channels_out, depth, len(widths), dropout_rate),
        ]
    layers.append(_initialised(nn.Conv2d(widths[-1], channels, 1, bias=False), 1.0))
    return nn.Sequential(*layers)


def discriminator_backbone(
    channels: int,
    resolution: Resolution,
    width: int,
    depth: int | None = None,
    widths: Sequence[int] | None = None,
    dropout_rate: float = 0.0,
) -> Backbone:
    """Mirror image of the generator; its head is a depthwise convolution over all that remains of the image.

    widths: as the generator's, lowest resolution first.
    """
    smallest, doublings = pyramid(resolution)
    widths = list(reversed(widths or layer_widths(width, doublings + 1)))
    layers: list[nn.Module] = [_initialised(nn.Conv2d(channels, widths[0], 1, bias=False), 1.0)]
    for channels_in, channels_out in pairwise(widths):
        layers += [
            *_blocks(channels_in, depth, len(widths), dropout_rate),
            Resample(channels_in, channels_out, up=False),
        ]
    layers.append(Float32Sequential(*_blocks(widths[-1], depth, len(widths), dropout_rate)))
    return Backbone(nn.Sequential(*layers), widths[-1], partial(_head, size=smallest))


def _head(channels: int, size: Resolution) -> nn.Module:
    return nn.Sequential(
        _initialised(nn.Conv2d(channels, channels, size, groups=channels, bias=False), 1.0),
        nn.Flatten(),
        _initialised(nn.Linear(channels, 1, bias=False), 1.0),
    )


def _blocks(channels: int, depth: int | None, levels: int, dropout_rate: float) -> list[nn.Module]:
    """Blocks of one resolution."""
    depth = depth or DEFAULT_DEPTH
    blocks: list[nn.Module] = [ResidualBlock(channels, depth * levels) for _ in range(depth)]
    return [*blocks, *dropout(dropout_rate)]


def _initialised(layer: nn.Conv2d | nn.Linear, gain: float) -> nn.Module:
    """The layer, initialised from N(0, gain / sqrt(fan_in))."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    return layer


def _binomial_filter() -> Tensor:
    """Separable [1, 3, 3, 1] filter that sums to 1, [4, 4]."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(line, line) / line.sum() ** 2
