"""Tests of the projected GAN: frozen features, small checkpoints, classes, and a generator without a grid of dots."""

import copy
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from serving.inference.image_shape import Resolution
from tests.training.project import tiny_params
from tests.training.tiny_gan import tiny_gan, train_steps
from training.gan.trainer import Batch, GANTrainer
from training.networks.projected import (
    STAGES,
    Blur,
    FrozenFeatures,
    Modulation,
    ProjectedDiscriminator,
    generator_layers,
)
from training.pretrained import efficientnet_lite0

SQUARE = Resolution(64, 64)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 3, *SQUARE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def discriminator(resolution: Resolution = SQUARE, classes: int = 0) -> ProjectedDiscriminator:
    return ProjectedDiscriminator(resolution, width=8, class_tags=torch.eye(classes) if classes else None)


@pytest.mark.parametrize("size", [SQUARE, Resolution(80, 112)])
def test_features_are_those_of_the_network_that_was_trained_on_imagenet(size: Resolution) -> None:
    """With even sides and, from 80 px, odd ones to be halved."""
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    network = efficientnet_lite0()
    with torch.no_grad():
        x = network.bn1(network.conv_stem(images))
        expected = [x := stage(x) for stage in network.blocks]
        found = list(FrozenFeatures().maps(images))
    assert [features.shape[2] for features in found] == [-(-size.height // stride) for stride in STAGES]
    for features, index in zip(found, (1, 2, 4, 6), strict=True):
        torch.testing.assert_close(features.flip(2, 3), expected[index], rtol=1e-3, atol=1e-3)


def test_training_changes_the_heads_and_nothing_else(images: Tensor) -> None:
    network = discriminator()
    before = {name: buffer.clone() for name, buffer in network.features.named_buffers()}
    assert all(name.startswith("heads.") for name, _ in network.named_parameters())
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    network(images).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    optimizer.step()
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.features.named_buffers())


def test_gradients_reach_the_pixels(images: Tensor) -> None:
    pixels = images.clone().requires_grad_()
    discriminator()(pixels).logits.sum().backward()
    assert pixels.grad is not None
    assert (pixels.grad.abs().amax(dim=(1, 2, 3)) > 0).all()


def test_colours_of_transparent_pixels_do_not_count_and_alpha_does(images: Tensor) -> None:
    transparent = torch.cat([images, torch.full_like(images[:, :1], -1.0)], dim=1).requires_grad_()
    discriminator()(transparent).logits.sum().backward()
    assert transparent.grad is not None
    assert transparent.grad[:, :3].abs().max() == 0
    assert (transparent.grad[:, 3].abs().amax(dim=(1, 2)) > 0).all()


def test_opaque_images_are_judged_by_their_colours_alone(images: Tensor) -> None:
    network = discriminator().eval()
    opaque = torch.cat([images, torch.ones_like(images[:, :1])], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(network(opaque).logits, network(images).logits, rtol=1e-4, atol=1e-4)


def test_a_checkpoint_holds_the_random_mixing_but_not_the_pretrained_weights(images: Tensor) -> None:
    first, second = discriminator().eval(), discriminator().eval()
    state = first.state_dict()
    with torch.no_grad():
        assert not torch.allclose(first(images).logits, second(images).logits)
        second.load_state_dict(state)
        torch.testing.assert_close(second(images).logits, first(images).logits)
    assert sum(tensor.numel() for tensor in state.values()) < 500_000  # EfficientNet-Lite0 alone has 3 million


def test_the_class_changes_the_logits_of_every_head(images: Tensor) -> None:
    network = discriminator(classes=2).eval()
    with torch.no_grad():
        zeros, ones = (network(images, torch.full((3,), label)).logits.view(3, -1) for label in (0, 1))
    assert ((zeros - ones).abs() > 0).all()


@pytest.mark.parametrize("text", ["28", "32", "96x64", "48x32", "128", "512"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_size_in_grey_in_colour_and_with_alpha(text: str, channels: int) -> None:
    resolution = Resolution.parse(text)
    generator = generator_layers(6, resolution, channels, width=1)
    images = generator(torch.randn(2, 6))
    assert images.shape == (2, channels, *resolution)
    logits = discriminator(resolution)(images).logits
    assert len(logits) % 2 == 0
    assert logits.isfinite().all()


def test_upsampling_leaves_no_grid_of_dots() -> None:
    layers = generator_layers(6, SQUARE, 3, width=4)
    [upsample, blur] = next(
        [first, third] for first, third in zip(layers, layers[2:], strict=False) if isinstance(third, Blur)
    )
    constant = torch.ones(1, upsample.in_channels, 8, 8)
    with torch.no_grad():
        upsampled = upsample(constant)
        blurred = blur(upsampled)[:, :, 2:-2, 2:-2]
    torch.testing.assert_close(blurred, blurred[:, :, :1, :1].expand_as(blurred))
    assert upsampled[:, :, 2:-2, 2:-2].std(dim=(2, 3)).min() > 0  # which is what the blur is for


def test_z_acts_at_every_resolution() -> None:
    layers = generator_layers(6, SQUARE, 3, width=4)
    inputs = torch.randn(2, 6)
    modulations = [layer for layer in layers if isinstance(layer, Modulation)]
    assert len(modulations) == 4  # 8 to 64 px
    for layer in modulations:
        x = torch.ones(2, layer.linear.out_features // 2, 8, 8)
        modulated = layer(x, inputs)
        assert (modulated[0] - modulated[1]).abs().amax(dim=(1, 2)).min() > 0


def test_batch_norms_of_the_generator_directly_follow_a_convolution_so_that_export_folds_them() -> None:
    layers = generator_layers(6, SQUARE, 3, width=4)
    norms = [(before, layer) for before, layer in pairwise(layers) if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 5
    assert all(isinstance(before, nn.ConvTranspose2d) for before, _ in norms)


def projected(**sections: dict[str, object]) -> dict[str, dict[str, object]]:
    """Sections of params.yaml for a tiny projected GAN."""
    network = {"name": "projected", "kernel": None, "discriminator_norm": "none", **sections.pop("network", {})}
    return {"network": network, "data": {"resolution": 32, "channels": 3}, "objective": {"name": "hinge"}} | sections


@pytest.mark.parametrize("objective", [{"energy_distance": 8.0}, {"name": "relativistic"}, {"mismatched": True}])
def test_both_networks_learn_and_a_resumed_run_repeats_the_uninterrupted_one(objective: dict[str, object]) -> None:
    sections = {"stabilise": {"augment": "diffaugment"}, "objective": {"name": "hinge"} | objective}
    gan, resumed = (tiny_gan(**projected(**sections)) for _ in range(2))
    networks = nn.ModuleList([gan.generator, gan.discriminator])
    weights = {name: parameter.clone() for name, parameter in networks.named_parameters()}
    train_steps(gan, 1)
    kept = {name for name, parameter in networks.named_parameters() if torch.equal(parameter, weights[name])}
    # A relativistic loss takes differences of logits, in which their biases cancel.
    assert all(name.endswith("logits.bias") for name in kept) if gan.objective.paired else not kept
    resumed.load_state_dict(copy.deepcopy(gan.state_dict()))
    assert train_steps(gan, 1) == train_steps(resumed, 1)


def test_ada_counts_images_whatever_the_number_of_their_logits() -> None:
    gan = tiny_gan(**projected(stabilise={"augment": "ada", "ada_kimg": 1}))
    gan.ada.p = 0.5
    batches = black_and_white(gan)
    for _ in range(4):
        gan.step(batches)
    assert abs(gan.ada.p - 0.5) == pytest.approx(4 * gan.batch_size / 1000)


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"evaluate": {"extractor": "efficientnet-lite0"}}, "evaluate.extractor"),
        ({"stabilise": {"packing": 2}, "network": {"condition": "none"}}, "stabilise.packing"),
        ({"objective": {"name": "hinge", "r1": 1.0}}, "objective.r1"),
        ({"objective": {"name": "wasserstein", "weight_clip": 0.01}}, "objective.weight_clip"),
        ({"stabilise": {"replay": 8}}, "stabilise.replay"),
        ({"train": {"discriminator_steps": 2}}, "train.discriminator_steps"),
        ({"train": {"generator_steps": 2}}, "train.generator_steps"),
        ({"network": {"condition": "auxiliary"}}, "network.condition"),
        ({"network": {"spectral_norm": True}}, "network.spectral_norm"),
        ({"network": {"minibatch_std": True}}, "network.minibatch_std"),
        ({"network": {"discriminator_dropout": 0.1}}, "network.discriminator_dropout"),
    ],
)
def test_what_the_frozen_network_cannot_do_is_refused(sections: dict[str, dict[str, object]], key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        tiny_params(**projected(**sections))


def black_and_white(gan: GANTrainer) -> Iterator[Batch]:
    """Endless batches, half black and half white images."""
    white = torch.arange(gan.batch_size) % 2
    while True:
        yield (white * 2.0 - 1).view(-1, 1, 1, 1).expand(-1, 3, *gan.params.data.resolution), torch.zeros_like(white)


def test_the_energy_distance_alone_drives_fakes_apart() -> None:
    """The discriminator judges images one by one, and learns nothing here."""
    spreads = []
    for weight in (0.0, 100.0):
        sections = {
            "network": {"generator_width": 8},
            "train": {"generator_lr": 0.01, "discriminator_lr": 1e-9, "batch": 8},
        }
        gan = tiny_gan(classes=0, **projected(objective={"name": "hinge", "energy_distance": weight}, **sections))
        batches = black_and_white(gan)
        for _ in range(15):
            gan.step(batches)
        with torch.no_grad():
            images = gan.generator(torch.randn(16, gan.latent_dim, generator=torch.Generator().manual_seed(0)))
        spreads.append(images.mean(dim=(1, 2, 3)).std().item())
    assert spreads[1] > 5 * spreads[0]


def test_an_energy_distance_needs_frozen_features() -> None:
    with pytest.raises(ValidationError, match="energy_distance compares frozen features, and a dcgan discriminator"):
        tiny_params(objective={"energy_distance": 1.0})


def test_a_wasserstein_critic_is_bounded_by_the_spectral_norm_of_its_heads() -> None:
    assert tiny_params(**projected(objective={"name": "wasserstein"})).network.name == "projected"
