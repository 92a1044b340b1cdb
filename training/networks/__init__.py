"""The networks: one file a family, and `build`, which makes the pair that params.yaml names."""

from torch import nn

from training.networks import dcgan
from training.params import NetworkParams


def build(params: NetworkParams, resolution: int, channels: int, classes: int) -> tuple[nn.Module, nn.Module]:
    """Makes a generator and a discriminator with freshly drawn weights.

    classes: how many the data has; the pair is unconditional when it is 0.
    The generator maps z [N, latent_dim] and label [N] to images [N, channels, resolution, resolution]
    in [-1, 1]; the discriminator maps images and label to logits [N]. Both ignore the label (None is
    fine) when unconditional.
    """
    generator = dcgan.Generator(resolution, channels, classes, params.latent_dim, params.generator_width, params.kernel)
    discriminator = dcgan.Discriminator(resolution, channels, classes, params.discriminator_width, params.kernel)
    return generator, discriminator
