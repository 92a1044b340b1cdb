"""DCGAN (Radford et al. 2015), in its two popular variants.

kernel 4: transposed convolutions only, as in the PyTorch tutorial.
kernel 5: a dense first layer, 5x5 kernels, biases in the discriminator.
"""

from functools import partial
from itertools import pairwise

from torch import nn

from serving.inference.image_shape import Resolution
from training.networks.base import Backbone, dropout
from training.networks.chain import ChainNorm
from training.pyramid import layer_widths, pyramid


def generator_layers(
    inputs: int, resolution: Resolution, channels: int, width: int, kernel: int, dropout_rate: float = 0.0
) -> nn.Sequential:
    """[N, inputs] -> [N, channels, height, width] in [-1, 1]."""
    smallest, doublings = pyramid(resolution)
    widths = layer_widths(width, doublings)
    layers = _dense_stem(inputs, widths[0], smallest) if kernel == 5 else _conv_stem(inputs, widths[0], smallest)
    layers += dropout(dropout_rate)
    for channels_in, channels_out in pairwise(widths):
        layers += [
            _upsample(channels_in, channels_out, kernel, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(True),
        ]
        layers += dropout(dropout_rate)
    layers += [_upsample(widths[-1], channels, kernel, bias=kernel == 5), nn.Tanh()]
    return nn.Sequential(*layers).apply(initialise)


def discriminator_backbone(
    channels: int, resolution: Resolution, width: int, kernel: int, norm: str = "batch", dropout_rate: float = 0.0
) -> Backbone:
    """Strided convolutions. norm: `batch` and `chain` normalise all layers but the first, `batch-everywhere` all."""
    smallest, doublings = pyramid(resolution)
    widths = layer_widths(width, doublings)[::-1]
    bias = kernel == 5
    layers: list[nn.Module] = []
    for level, (channels_in, channels_out) in enumerate(pairwise([channels, *widths])):
        layers.append(_downsample(channels_in, channels_out, kernel, bias))
        if norm == "batch-everywhere" or (norm == "batch" and level):
            layers.append(nn.BatchNorm2d(channels_out))
        if norm == "chain" and level:
            layers.append(ChainNorm())
        layers += [nn.LeakyReLU(0.2, True), *dropout(dropout_rate)]
    return Backbone(nn.Sequential(*layers).apply(initialise), widths[-1], partial(_head, size=smallest, bias=bias))


def _head(channels: int, size: Resolution, bias: bool) -> nn.Module:
    return nn.Conv2d(channels, 1, size, bias=bias).apply(initialise)


def _conv_stem(inputs: int, width: int, size: Resolution) -> list[nn.Module]:
    """[N, inputs] -> [N, width, *size] by one transposed convolution."""
    return [
        nn.Unflatten(1, (inputs, 1, 1)),
        nn.ConvTranspose2d(inputs, width, size, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(True),
    ]


def _dense_stem(inputs: int, width: int, size: Resolution) -> list[nn.Module]:
    """[N, inputs] -> [N, width, *size] by a dense layer with batch norm over its units."""
    units = width * size.pixels
    return [
        nn.Linear(inputs, units, bias=False),
        nn.BatchNorm1d(units),
        nn.ReLU(True),
        nn.Unflatten(1, (width, *size)),
    ]


def _upsample(channels_in: int, channels_out: int, kernel: int, bias: bool) -> nn.ConvTranspose2d:
    """Transposed convolution that doubles the side; an odd kernel needs output padding."""
    extra = kernel % 2
    padding = (kernel - 2 + extra) // 2
    return nn.ConvTranspose2d(channels_in, channels_out, kernel, 2, padding, output_padding=extra, bias=bias)


def _downsample(channels_in: int, channels_out: int, kernel: int, bias: bool) -> nn.Conv2d:
    """Convolution that halves the side."""
    return nn.Conv2d(channels_in, channels_out, kernel, 2, (kernel - 1) // 2, bias=bias)


def initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02), batch-norm gains from N(1, 0.02) (Radford et al. 2015, section 4)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
