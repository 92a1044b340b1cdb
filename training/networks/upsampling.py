"""Upsampling GAN: nearest-neighbour upsampling and convolutions, without normalisation.

Upsampling before a convolution avoids checkerboard artefacts (Odena et al. 2016, "Deconvolution and Checkerboard
Artifacts"), at the price of larger feature maps. The discriminator's convolutions have no padding and no stride.
"""

from functools import partial
from itertools import pairwise

from torch import nn

from serving.inference.image_shape import Resolution
from training.networks.base import Backbone, dropout

SHRINKAGE = 4  # pixels that a side loses in a 5x5 convolution without padding
LEVELS = 4  # convolutions of the discriminator


def generator_layers(
    inputs: int, resolution: Resolution, channels: int, width: int, dropout_rate: float = 0.0
) -> nn.Sequential:
    """[N, inputs] -> [N, channels, height, width] in [-1, 1]; both sides are multiples of 4."""
    smallest = Resolution(resolution.height // 4, resolution.width // 4)
    layers: list[nn.Module] = [
        nn.Linear(inputs, width * smallest.pixels),
        nn.LeakyReLU(0.2, True),
        nn.Unflatten(1, (width, *smallest)),
        *dropout(dropout_rate),
    ]
    for kernel, upsample in ((5, True), (5, True), (4, False), (4, False)):
        if upsample:
            layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
        layers += [*_same_conv(width, width, kernel), nn.LeakyReLU(0.2, True), *dropout(dropout_rate)]
    # The original has a sigmoid and pixels in [0, 1]; tanh(a) = 2 sigmoid(2a) - 1 is the same curve on [-1, 1].
    layers += [*_same_conv(width, channels, 4), nn.Tanh()]
    return nn.Sequential(*layers).apply(initialise)


def discriminator_backbone(channels: int, resolution: Resolution, width: int, dropout_rate: float = 0.0) -> Backbone:
    """Convolutions with width, 2 width, 4 width and 8 width channels."""
    widths = [width * 2**level for level in range(LEVELS)]
    layers: list[nn.Module] = []
    for channels_in, channels_out in pairwise([channels, *widths]):
        layers += [nn.Conv2d(channels_in, channels_out, 5), nn.LeakyReLU(0.2, True), *dropout(dropout_rate)]
    remaining = Resolution(*(side - LEVELS * SHRINKAGE for side in resolution))
    make_head = partial(_head, size=remaining, dropout_rate=dropout_rate)
    return Backbone(nn.Sequential(*layers).apply(initialise), widths[-1], make_head)


def _same_conv(channels_in: int, channels_out: int, kernel: int) -> list[nn.Module]:
    """Convolution with "same" padding; an even kernel needs one more row and column after than before."""
    before, after = (kernel - 1) // 2, kernel // 2
    return [nn.ZeroPad2d((before, after, before, after)), nn.Conv2d(channels_in, channels_out, kernel)]


def _head(channels: int, size: Resolution, dropout_rate: float) -> nn.Module:
    layers = [nn.Flatten(), *dropout(dropout_rate), nn.Linear(channels * size.pixels, 1)]
    return nn.Sequential(*layers).apply(initialise)


def initialise(module: nn.Module) -> None:
    """Weights uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16), biases 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
