"""Projected GAN (Sauer et al. 2021): the discriminator sees images through a frozen network trained on ImageNet.

EfficientNet-Lite0 turns an image into feature maps at strides 4, 8, 16 and 32. Random, fixed convolutions mix the
channels of each map, and each map with the deeper ones, so that no head can ignore the features in which fakes are
easy to tell. A small head with spectral norm judges every position of each mixed map. Features that know photographs
give the generator useful gradients from the first step; a discriminator without them would have to learn them from the
few images that there are.

The generator is a DCGAN's with blurred upsampling: without the blur, transposed convolutions leave a grid of dots. Its
inputs act at every resolution. Both networks keep their weights in the channels-last layout, twice as fast on a CPU.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.nn.utils.parametrizations import spectral_norm

from serving.inference.image_shape import RGBA, Resolution
from training.networks.base import DiscriminatorOutput, TagEmbedding, autocast_disabled, dropout
from training.networks.dcgan import initialise
from training.pretrained import efficientnet_lite0
from training.pyramid import layer_widths, pyramid

# Of EfficientNet-Lite0, by stride: the stage that ends there, and the channels of its maps.
STAGES = {4: (1, 24), 8: (2, 40), 16: (4, 112), 32: (6, 320)}
MIN_SIDE = 64  # pixels; smaller images are enlarged, as the deepest map would have a single position
MIXED_CHANNELS = 64
CLASS_EMBEDDING_SCALE = 0.3  # more than elsewhere: objective.energy_distance keeps the network from ignoring z
MAX_WIDTH_FACTOR = 16  # widest layer of the generator over narrowest
HEAD_SIDE = 4  # positions; a head halves its map until the shorter side has no more


class Blur(nn.Module):
    """Each channel convolved with [1, 2, 1] in both directions, the sum of which is 1."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", torch.outer(line, line), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        return conv2d(x, self.kernel.to(x.dtype).expand(channels, 1, 3, 3), padding=1, groups=channels)


class Modulation(nn.Module):
    """Channels scaled and shifted as z and the class want it (FiLM; Perez et al. 2018, eq. 2, with 1 + gamma).

    x [N, channels, h, w], inputs [N, inputs] -> [N, channels, h, w]. What z says otherwise reaches the finer layers
    through the coarsest map alone.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 2 * channels)

    def forward(self, x: Tensor, inputs: Tensor) -> Tensor:
        scale, shift = self.linear(inputs)[:, :, None, None].chunk(2, dim=1)
        modulated: Tensor = x * (1 + scale) + shift
        return modulated


class ModulatedLayers(nn.Sequential):
    """Layers in sequence, of which each Modulation also gets what the first one gets."""

    def forward(self, inputs: Tensor) -> Tensor:
        x = inputs
        for layer in self:
            x = layer(x, inputs) if isinstance(layer, Modulation) else layer(x)
        return x


def generator_layers(
    inputs: int, resolution: Resolution, channels: int, width: int, dropout_rate: float = 0.0
) -> ModulatedLayers:
    """[N, inputs] -> [N, channels, height, width] in [-1, 1]."""
    smallest, doublings = pyramid(resolution)
    widths = layer_widths(width, doublings + 1, MAX_WIDTH_FACTOR)
    layers: list[nn.Module] = [
        nn.Unflatten(1, (inputs, 1, 1)),
        nn.ConvTranspose2d(inputs, widths[0], smallest, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(True),
        *dropout(dropout_rate),
    ]
    for channels_in, channels_out in pairwise(widths):
        layers += [
            nn.ConvTranspose2d(channels_in, channels_out, 3, 2, 1, output_padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            Blur(),
            Modulation(inputs, channels_out),
            nn.ReLU(True),
            *dropout(dropout_rate),
        ]
    layers += [nn.Conv2d(widths[-1], channels, 3, padding=1), nn.Tanh()]
    return ModulatedLayers(*layers).apply(initialise).to(memory_format=torch.channels_last)


class ProjectedMaps(NamedTuple):
    """What the discriminator sees of images, one map for each stride, the finest first."""

    plain: list[Tensor]  # [N, C, h, w], as EfficientNet-Lite0 gives them
    mixed: list[Tensor]  # [N, MIXED_CHANNELS, h, w], for the heads

    def detach(self) -> Self:
        """The same values without a gradient."""
        return type(self)(*([x.detach() for x in maps] for maps in self))


def concatenate(maps: Sequence[ProjectedMaps]) -> ProjectedMaps:
    """Maps of several batches as those of one."""
    return ProjectedMaps(*([torch.cat(x) for x in zip(*kind, strict=True)] for kind in zip(*maps, strict=True)))


class FrozenFeatures(nn.Module):
    """images [N, 1, 3 or 4, H, W] in [-1, 1] -> ProjectedMaps; those with alpha are seen over random colours.

    Weights are buffers: no optimiser trains them. Those of EfficientNet-Lite0 are also left out of checkpoints.
    """

    def __init__(self) -> None:
        super().__init__()
        network = efficientnet_lite0()
        fold_batch_norm(network)
        rotate_kernels(network)
        depth = STAGES[max(STAGES)][0] + 1
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.stages = nn.ModuleList(network.blocks[:depth])
        for module in (self.stem, self.stages):
            freeze(module, persistent=False)
        self.across_channels = nn.ModuleList(nn.Conv2d(channels, MIXED_CHANNELS, 1) for _, channels in STAGES.values())
        self.across_scales = nn.ModuleList(nn.Conv2d(MIXED_CHANNELS, MIXED_CHANNELS, 3, padding=1) for _ in STAGES)
        for mixing in (self.across_channels, self.across_scales):
            mixing.apply(initialise_mixing)
            freeze(mixing, persistent=True)

    def forward(self, images: Tensor) -> ProjectedMaps:
        plain, mixed = list(self.maps(images)), list[Tensor]()
        pairs = zip(plain, self.across_channels, self.across_scales, strict=True)
        for features, across_channels, across_scales in reversed(list(pairs)):
            x = across_channels(features)
            if mixed:
                x = x + interpolate(mixed[-1], x.shape[2:], mode="bilinear", align_corners=False)
            mixed.append(across_scales(x))
        return ProjectedMaps(plain, mixed[::-1])

    def maps(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the feature maps at each stride, rotated by 180 degrees, the finest first."""
        if images.shape[1] == RGBA:
            images = over_random_colours(images)
        side = min(images.shape[2:])
        if side < MIN_SIDE:
            images = interpolate(images, scale_factor=MIN_SIDE / side, mode="bilinear", align_corners=False)
        x = self.stem(images.flip(2, 3).expand(-1, 3, -1, -1))
        ends = {stage for stage, _ in STAGES.values()}
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in ends:
                yield x


class Head(nn.Module):
    """mixed features [N, MIXED_CHANNELS, h, w], label [N] -> logits [N, positions]."""

    def __init__(self, size: Resolution, width: int, class_tags: Tensor | None) -> None:
        super().__init__()
        channels, side = MIXED_CHANNELS, min(size)
        layers: list[nn.Module] = []
        while side > HEAD_SIDE:
            layers += [spectral_norm(nn.Conv2d(channels, width, 4, 2, 1)), nn.LeakyReLU(0.2, True)]
            channels, side = width, side // 2
        layers += [spectral_norm(nn.Conv2d(channels, width, 3, padding=1)), nn.LeakyReLU(0.2, True)]
        self.layers = nn.Sequential(*layers)
        self.logits = spectral_norm(nn.Conv2d(width, 1, 1))
        self.embedding = None
        if class_tags is not None:
            self.embedding = spectral_norm(TagEmbedding(class_tags, width, scale=1.0))

    def forward(self, features: Tensor, label: Tensor | None) -> Tensor:
        with autocast_disabled(self.layers(features)) as x:
            logits: Tensor = self.logits(x)
            if self.embedding is not None:
                logits = logits + (self.embedding(label)[:, :, None, None] * x).sum(1, keepdim=True)
            return logits.flatten(1)


class ProjectedDiscriminator(nn.Module):
    """images [N, 1, 3 or 4, H, W], label [N] -> DiscriminatorOutput with logits [N * positions], of all heads.

    class_tags: see TagEmbedding; adds the projection of the class to every logit. None ignores the label.
    """

    def __init__(self, resolution: Resolution, width: int, class_tags: Tensor | None) -> None:
        super().__init__()
        self.features = FrozenFeatures()
        with torch.no_grad():
            sizes = [Resolution(*x.shape[2:]) for x in self.features(torch.zeros(1, 3, *resolution)).mixed]
        self.heads = nn.ModuleList(Head(size, width, class_tags) for size in sizes)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        return self.discriminate(self.features(images), label)

    def discriminate(self, maps: ProjectedMaps, label: Tensor | None) -> DiscriminatorOutput:
        """Output for images by their maps, by the trained part of the network alone. Logits are ordered by image."""
        logits = [head(x, label) for head, x in zip(self.heads, maps.mixed, strict=True)]
        return DiscriminatorOutput(torch.cat(logits, dim=1).flatten(), None)


def over_random_colours(images: Tensor) -> Tensor:
    """RGBA images [N, 4, H, W] in [-1, 1], each over a plain random colour -> [N, 3, H, W].

    A network of RGB images then sees alpha, since a wrong one lets the wrong share of the colour through, and nothing
    of the colours that transparent pixels have.
    """
    colours = torch.rand(len(images), 3, 1, 1, device=images.device, dtype=images.dtype) * 2 - 1
    alpha = (images[:, 3:] + 1) / 2
    return colours + (images[:, :3] - colours) * alpha


def initialise_mixing(module: nn.Module) -> None:
    """Random weights that keep the variance of a linear layer (He et al. 2015, eq. 7 with slope 1), biases 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def fold_batch_norm(network: nn.Module) -> None:
    """Fold every batch norm that follows a convolution into it; timm's norm layers also hold the activation."""
    for module in network.modules():
        for (_, layer), (name, norm) in pairwise(list(module.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None
                assert norm.running_var is not None
                layer.weight, layer.bias = fuse_conv_bn_weights(
                    layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                )
                setattr(module, name, getattr(norm, "act", nn.Identity()))


def freeze(network: nn.Module, persistent: bool) -> None:
    """Turn parameters into buffers, which move between devices with the network but are not trained.

    persistent: saved in the state dict.
    """
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach(), persistent=persistent)


def rotate_kernels(network: nn.Module) -> None:
    """Rotate every kernel by 180 degrees, which turns TensorFlow's padding into a symmetric one.

    Where it halves an even side, that padding has one pixel more at the bottom and right, for which every map would be
    copied; of an odd side it is symmetric already. The maps of images that are rotated too are the same, rotated.
    """
    for module in list(network.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, nn.Conv2d):
                side, stride, bias = layer.kernel_size[0], layer.stride[0], layer.bias is not None
                rotated = nn.Conv2d(
                    layer.in_channels, layer.out_channels, side, stride, side // 2, groups=layer.groups, bias=bias
                )
                rotated.weight, rotated.bias = nn.Parameter(layer.weight.detach().flip(2, 3)), layer.bias
                setattr(module, name, rotated)
