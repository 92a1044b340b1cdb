"""The GAN of the flower pictures: nearest-neighbour upsampling and convolutions, no normalisation.

Upsampling before a convolution leaves no checkerboard behind (Odena et al. 2016, "Deconvolution and
Checkerboard Artifacts"), at the price of larger feature maps. The discriminator's convolutions do not pad
and do not stride.
"""

from functools import partial
from itertools import pairwise

from torch import nn

from training.networks.base import Backbone, dropout

SHRINKS = 4  # pixels that a side loses in a 5x5 convolution without padding
LEVELS = 4  # convolutions of the discriminator


def generator_layers(
    inputs: int, resolution: int, channels: int, width: int, dropout_share: float = 0.0
) -> nn.Sequential:
    """[N, inputs] -> [N, channels, resolution, resolution] in [-1, 1]; resolution is a multiple of 4."""
    side = resolution // 4
    layers: list[nn.Module] = [
        nn.Linear(inputs, width * side * side),
        nn.LeakyReLU(0.2, True),
        nn.Unflatten(1, (width, side, side)),
        *dropout(dropout_share),
    ]
    for kernel, doubles in ((5, True), (5, True), (4, False), (4, False)):
        if doubles:
            layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
        layers += [*_same(width, width, kernel), nn.LeakyReLU(0.2, True), *dropout(dropout_share)]
    # The source ends in a sigmoid and pixels in [0, 1]; tanh(a) = 2 sigmoid(2a) - 1 is the same curve on [-1, 1].
    layers += [*_same(width, channels, 4), nn.Tanh()]
    return nn.Sequential(*layers).apply(initialise)


def discriminator_backbone(channels: int, resolution: int, width: int, dropout_share: float = 0.0) -> Backbone:
    """Convolutions of width, 2 width, 4 width and 8 width channels."""
    widths = [width * 2**level for level in range(LEVELS)]
    layers: list[nn.Module] = []
    for before, after in pairwise([channels, *widths]):
        layers += [nn.Conv2d(before, after, 5), nn.LeakyReLU(0.2, True), *dropout(dropout_share)]
    logit = partial(_logit, side=resolution - LEVELS * SHRINKS, dropout_share=dropout_share)
    return Backbone(nn.Sequential(*layers).apply(initialise), widths[-1], logit)


def _same(channels_in: int, channels_out: int, kernel: int) -> list[nn.Module]:
    """A convolution that keeps the side; an even kernel needs one more row and column after than before."""
    before, after = (kernel - 1) // 2, kernel // 2
    return [nn.ZeroPad2d((before, after, before, after)), nn.Conv2d(channels_in, channels_out, kernel)]


def _logit(channels: int, side: int, dropout_share: float) -> nn.Module:
    layers = [nn.Flatten(), *dropout(dropout_share), nn.Linear(channels * side * side, 1)]
    return nn.Sequential(*layers).apply(initialise)


def initialise(module: nn.Module) -> None:
    """Weights uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16), biases 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
