"""The networks: one file a family, and `build`, which makes the pair that params.yaml names."""

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from training.networks import dcgan, dense, r3gan, upsampling
from training.networks.base import Discriminator, DiscriminatorOutput, Generator, TagEmbedding
from training.param_sections import NetworkParams
from training.params import Params

__all__ = ["Discriminator", "DiscriminatorOutput", "Generator", "build"]

FAMILIES: dict[str, Any] = {"dense": dense, "upsampling": upsampling, "dcgan": dcgan, "residual": r3gan}


def build(params: Params, tags: Tensor | None) -> tuple[Generator, Discriminator]:
    """Makes a generator and a discriminator with freshly drawn weights.

    tags: float [classes, tags], 1 where a class has a tag; used unless network.condition is none. The
    discriminator sees stabilise.packing images joined on their channels as one.
    """
    network = params.network
    resolution, channels = params.data.resolution, params.data.channels
    family = FAMILIES[network.name]
    if network.condition == "none":
        tags = None
    generator = Generator(
        network.latent_dim,
        tags,
        lambda inputs: family.generator_layers(
            inputs,
            resolution,
            channels,
            network.generator_width,
            **_form(network),
            dropout_share=network.generator_dropout,
        ),
    )
    norm = {"norm": network.discriminator_norm} if network.name == "dcgan" else {}
    features = family.discriminator_backbone(
        channels * params.stabilise.packing,
        resolution,
        network.discriminator_width,
        **_form(network),
        **norm,
        dropout_share=network.discriminator_dropout,
    )
    discriminator = Discriminator(features, network.condition, tags, network.minibatch_std)
    if network.spectral_norm:
        normalise_spectra(discriminator)
    return generator, discriminator


def normalise_spectra(network: nn.Module) -> None:
    """Divides every weight by its largest singular value (Miyato et al. 2018), so that no layer stretches by over 1.

    A projection's embedding is one of them (Miyato and Koyama 2018, section 4): free, it would outgrow the rest.
    """
    for layer in list(network.modules()):
        if isinstance(layer, TagEmbedding):
            nn.init.normal_(layer.weight)  # the zeros it starts from have no size to be divided by
        if isinstance(layer, nn.Conv2d | nn.Linear | TagEmbedding):
            spectral_norm(layer)


def _form(network: NetworkParams) -> dict[str, Any]:
    """What shapes this family's layers beside their width."""
    forms: dict[str, dict[str, Any]] = {
        "dense": {"depth": network.depth},
        "upsampling": {},
        "dcgan": {"kernel": network.kernel},
        "residual": {"depth": network.depth, "widths": network.widths},
    }
    return forms[network.name]
