"""Generator and discriminator networks: one module per family, picked by network.name."""

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from training.networks import dcgan, dense, projected, r3gan, upsampling
from training.networks.base import Discriminator, DiscriminatorOutput, Generator, TagEmbedding
from training.param_sections import NetworkParams
from training.params import Params

__all__ = ["Discriminator", "DiscriminatorOutput", "Generator", "build", "build_discriminator", "build_generator"]

FAMILIES: dict[str, Any] = {
    "dense": dense,
    "upsampling": upsampling,
    "dcgan": dcgan,
    "residual": r3gan,
    "projected": projected,
}


def build(params: Params, class_tags: Tensor | None) -> tuple[Generator, nn.Module]:
    """Build the generator and the discriminator that params.yaml names, with newly initialised weights.

    class_tags: float [classes, tags], 1 where a class has a tag; used unless network.condition is none.
    """
    return build_generator(params, class_tags), build_discriminator(params, class_tags)


def build_generator(params: Params, class_tags: Tensor | None) -> Generator:
    """Build the generator alone. class_tags: see `build`."""
    network = params.network
    return Generator(
        network.latent_dim,
        None if network.condition == "none" else class_tags,
        lambda inputs: FAMILIES[network.name].generator_layers(
            inputs,
            params.data.resolution,
            params.data.channels,
            network.generator_width,
            **_layer_options(network),
            dropout_rate=network.generator_dropout,
        ),
        **({"class_scale": projected.CLASS_EMBEDDING_SCALE} if network.name == "projected" else {}),
    )


def build_discriminator(params: Params, class_tags: Tensor | None) -> nn.Module:
    """Build the discriminator alone, which returns a DiscriminatorOutput. class_tags: see `build`.

    It takes packs of stabilise.packing images, joined along their channels.
    """
    network, resolution = params.network, params.data.resolution
    if network.condition == "none":
        class_tags = None
    if network.name == "projected":
        return projected.ProjectedDiscriminator(resolution, network.discriminator_width, class_tags)
    norm = {"norm": network.discriminator_norm} if network.name == "dcgan" else {}
    backbone = FAMILIES[network.name].discriminator_backbone(
        params.data.channels * params.stabilise.packing,
        resolution,
        network.discriminator_width,
        **_layer_options(network),
        **norm,
        dropout_rate=network.discriminator_dropout,
    )
    discriminator = Discriminator(backbone, network.condition, class_tags, network.minibatch_std)
    if network.spectral_norm:
        add_spectral_norm(discriminator)
    return discriminator


def add_spectral_norm(network: nn.Module) -> None:
    """Divide every weight by its largest singular value (Miyato et al. 2018), so that every layer is 1-Lipschitz.

    This includes a projection's embedding (Miyato and Koyama 2018, section 4), which would outgrow the rest otherwise.
    """
    for layer in list(network.modules()):
        if isinstance(layer, TagEmbedding):
            nn.init.normal_(layer.weight)  # its initial zeros cannot be normalised
        if isinstance(layer, nn.Conv2d | nn.Linear | TagEmbedding):
            spectral_norm(layer)


def _layer_options(network: NetworkParams) -> dict[str, Any]:
    """Options of the family's layers besides their width."""
    options: dict[str, dict[str, Any]] = {
        "dense": {"depth": network.depth},
        "upsampling": {},
        "dcgan": {"kernel": network.kernel},
        "residual": {"depth": network.depth, "widths": network.widths},
        "projected": {},
    }
    return options[network.name]
