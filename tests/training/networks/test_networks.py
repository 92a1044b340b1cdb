"""Tests of the network families: parameter counts of their sources, every resolution, and class conditioning."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from serving.inference.image_shape import Resolution
from tests.training.project import FAMILIES, tiny_params
from tests.training.tiny_gan import TWO_TAGS, tiny_gan, train_steps
from training.networks import Discriminator, Generator, build
from training.networks.base import MinibatchStd, TagEmbedding

EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
WITH_DROPOUT: Any = {"generator_dropout": 0.3, "discriminator_dropout": 0.3}


def pair(
    family: str = "dcgan-4", tags: Tensor | None = None, resolution: int | str = 28, channels: int = 1, **network: Any
) -> tuple[Generator, Discriminator]:
    """Tiny generator and discriminator of a family. network: overrides of its parameters."""
    data = {"resolution": resolution, "channels": channels}
    return build(tiny_params(data=data, network=FAMILIES[family] | network), tags)


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def sizes(family: str, side: int, channels: int, **network: Any) -> tuple[int, int]:
    """Parameter counts of both networks, without allocating them."""
    with torch.device("meta"):
        generator, discriminator = pair(family, None, side, channels, **network)
    return parameter_count(generator), parameter_count(discriminator)


@pytest.mark.parametrize(
    ("side", "channels", "published"),
    [(28, 3, (2_159_235, 1_114_945)), (64, 3, (5_577_219, 1_667_905)), (28, 1, (2_155_137, 1_113_345))],
)
def test_upsampling_has_the_published_number_of_parameters(
    side: int, channels: int, published: tuple[int, int]
) -> None:
    widths = {"latent_dim": 128, "generator_width": 128, "discriminator_width": 32}
    assert sizes("upsampling", side, channels, **widths, **WITH_DROPOUT) == published


@pytest.mark.parametrize(
    ("family", "norm", "published"),
    [
        ("dcgan-5", "batch", (5_142_083, 4_316_545)),
        ("dcgan-5", "batch-everywhere", (5_142_083, 4_316_673)),
        ("dcgan-5", "none", (5_142_083, 4_314_753)),
        ("dcgan-4", "batch", (3_576_704, 2_765_568)),  # those of the PyTorch tutorial
    ],
)
def test_dcgan_has_the_published_number_of_parameters(family: str, norm: str, published: tuple[int, int]) -> None:
    widths = {"latent_dim": 100, "generator_width": 64, "discriminator_width": 64}
    assert sizes(family, 64, 3, discriminator_norm=norm, **widths) == published


@EVERY_FAMILY
@pytest.mark.parametrize("resolution", [28, 32, 48, 64, 96, 128, 240, 256, "96x64", "48x32", "32x256", "112x80"])
@pytest.mark.parametrize(("channels", "classes"), [(1, 0), (3, 4), (4, 0)])
def test_networks_work_at_every_size(family: str, resolution: int | str, channels: int, classes: int) -> None:
    tags = torch.eye(classes) if classes else None
    labels = torch.tensor([0, classes - 1]) if classes else None
    width = FAMILIES[family].get("generator_width", 1)
    generator, discriminator = pair(
        family, tags, resolution, channels, generator_width=width, discriminator_width=width, **WITH_DROPOUT
    )

    images = generator(torch.randn(2, 6), labels)
    output = discriminator(images, labels)

    assert images.shape == (2, channels, *Resolution.parse(resolution))
    assert output.logits.shape == (2,)
    assert output.tag_logits is None
    assert output.logits.isfinite().all()
    if family != "residual":  # which has no tanh
        assert images.abs().max() <= 1


@pytest.mark.parametrize("family", ["dcgan-4", "dcgan-5", "residual"])
def test_512_px_builds_and_trains(family: str) -> None:
    width = FAMILIES[family].get("generator_width", 1)
    network = FAMILIES[family] | {"generator_width": width, "discriminator_width": width}
    gan = tiny_gan(classes=0, data={"resolution": 512, "channels": 4}, network=network, train={"batch": 2})
    before = [parameter.clone() for parameter in gan.generator.parameters()]
    [scalars] = train_steps(gan, 1)
    assert all(math.isfinite(value) for value in scalars.values())
    assert any(not torch.equal(*pair) for pair in zip(before, gan.generator.parameters(), strict=True))


@EVERY_FAMILY
@pytest.mark.parametrize("latent_dim", [1, 7, 100])
def test_networks_work_with_any_latent_dim(family: str, latent_dim: int) -> None:
    generator, _ = pair(family, latent_dim=latent_dim)
    z = torch.randn(2, latent_dim)
    images = generator.eval()(z)
    assert images.shape == (2, 1, 28, 28)
    assert (images[0] - images[1]).abs().max() > 1e-3 * images.abs().max()


@pytest.mark.parametrize("family", ["dense", "residual"])
def test_depth_adds_layers_to_both(family: str) -> None:
    by_default, shallow, deep = (pair(family, depth=depth) for depth in (None, 1, 5))
    for default, less, more in zip(by_default, shallow, deep, strict=True):
        assert parameter_count(less) < parameter_count(default) < parameter_count(more)
        # From 2 layers or blocks to 5 is three times what one of them takes.
        assert parameter_count(more) - parameter_count(default) == 3 * (
            parameter_count(default) - parameter_count(less)
        )


@EVERY_FAMILY
@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_dropout_drops_its_share_in_training_mode_alone(family: str, name: str) -> None:
    torch.manual_seed(0)
    networks = pair(family, None, 28, 1, **{f"{name}_dropout": 0.4, f"{name}_width": 16})
    network = networks[name == "discriminator"]
    other = networks[name != "discriminator"]
    assert not any(isinstance(layer, nn.Dropout) for layer in other.modules())
    seen: list[tuple[Tensor, Tensor]] = []
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.register_forward_hook(lambda _, given, kept: seen.append((given[0].clone(), kept)))
    inputs = torch.randn(16, 6) if name == "generator" else torch.randn(16, 1, 28, 28)

    network.train()(inputs)
    alive = torch.cat([given.flatten() != 0 for given, _ in seen])
    dropped = torch.cat([kept.flatten() == 0 for _, kept in seen])[alive].float().mean().item()
    assert dropped == pytest.approx(0.4, abs=0.03)

    seen.clear()
    network.eval()(inputs)
    assert all(torch.equal(given, kept) for given, kept in seen)
    assert len(seen) >= 1


@EVERY_FAMILY
def test_without_dropout_networks_are_deterministic(family: str) -> None:
    generator, discriminator = pair(family)
    z = torch.randn(4, 6)
    images = generator(z)
    assert torch.equal(generator(z), images)
    assert torch.equal(discriminator(images).logits, discriminator(images).logits)


@EVERY_FAMILY
def test_projection_conditions_both_networks_on_the_class(family: str) -> None:
    torch.manual_seed(0)
    generator, discriminator = pair(family, torch.eye(2))
    z, images, labels = torch.randn(1, 6).repeat(2, 1), torch.randn(1, 1, 28, 28).repeat(2, 1, 1, 1), torch.arange(2)

    made = generator.eval()(z, labels)
    assert (made[0] - made[1]).abs().max() > 0.01 * made.abs().max()

    assert discriminator.embedding is not None
    neutral = discriminator(images, labels).logits
    torch.testing.assert_close(neutral[0], neutral[1])  # before training; rows of a batch agree within rounding
    nn.init.normal_(discriminator.embedding.weight)
    logits = discriminator(images, labels).logits
    by_hand = (discriminator.embedding(labels) * discriminator.features(images).sum(dim=(2, 3))).sum(dim=1)
    torch.testing.assert_close(logits, neutral + by_hand)
    assert (logits[0] - logits[1]).abs() > 1e-4


@EVERY_FAMILY
def test_an_auxiliary_classifier_predicts_tags_without_seeing_the_label(family: str) -> None:
    generator, discriminator = pair(family, TWO_TAGS, condition="auxiliary")
    images = generator(torch.randn(4, 6), torch.tensor([0, 1, 2, 0]))
    first, second = (discriminator(images, torch.full((4,), label)) for label in (0, 1))
    assert first.tag_logits is not None
    assert first.tag_logits.shape == (4, 3)
    assert torch.equal(first.tag_logits, second.tag_logits)
    assert torch.equal(first.logits, second.logits)


@EVERY_FAMILY
def test_without_a_condition_the_label_has_no_effect(family: str) -> None:
    conditioned, plain = pair(family, torch.eye(2), condition="none"), pair(family)
    assert [parameter_count(network) for network in conditioned] == [parameter_count(network) for network in plain]
    generator, discriminator = conditioned
    z = torch.randn(2, 6)
    images, under_another_class = (generator(z, torch.full((2,), label)) for label in (0, 1))
    torch.testing.assert_close(images, under_another_class)
    assert discriminator(images, torch.arange(2)).tag_logits is None


def test_the_embedding_of_a_class_is_the_sum_of_its_tags_vectors() -> None:
    embedding = TagEmbedding(TWO_TAGS, size=5, scale=1.0)
    vectors = embedding.weight
    expected = torch.stack([vectors[1] + vectors[2], vectors[2], vectors[0] + vectors[1]])
    torch.testing.assert_close(embedding(torch.tensor([1, 2, 0])), expected)
    torch.testing.assert_close(embedding.fold()(torch.tensor([1, 2, 0])), expected)


def test_both_networks_learn_one_vector_a_tag_not_a_class() -> None:
    tags = torch.tensor([[1.0, 0], [0, 1], [1, 1], [1, 0], [0, 1]])
    generator, discriminator = pair(tags=tags)
    assert isinstance(generator.latent.embedding, TagEmbedding)
    assert discriminator.embedding is not None
    assert generator.latent.embedding.weight.shape == (2, 6)
    assert discriminator.embedding.weight.shape == (2, 8)


def test_minibatch_std_distinguishes_copies_from_a_varied_batch() -> None:
    varied = torch.randn(6, 3, 4, 5)
    spread = MinibatchStd()(varied)
    assert spread.shape == (6, 4, 4, 5)
    assert torch.equal(spread[:, :3], varied)
    torch.testing.assert_close(spread[:, 3], varied.std(dim=0, correction=0).mean().expand(6, 4, 5))

    copies = varied[:1].repeat(6, 1, 1, 1)
    assert MinibatchStd()(copies)[:, 3].abs().max() == pytest.approx(0, abs=2e-4)


@EVERY_FAMILY
def test_with_minibatch_std_a_logit_depends_on_the_rest_of_the_batch(family: str) -> None:
    torch.manual_seed(0)
    _, discriminator = pair(family, minibatch_std=True)
    image, others = torch.randn(1, 1, 28, 28), torch.randn(7, 1, 28, 28)
    among_copies = discriminator(image.repeat(8, 1, 1, 1)).logits[0]
    among_others = discriminator(torch.cat([image, others])).logits[0]
    assert (among_copies - among_others).abs() > 1e-4 * among_others.abs()


@EVERY_FAMILY
def test_packing_widens_only_the_discriminators_first_layer(family: str) -> None:
    data = {"channels": 3}
    network = FAMILIES[family] | {"condition": "none"}
    plain, packed = (
        build(tiny_params(data=data, network=network, stabilise={"packing": count}), None) for count in (1, 2)
    )
    assert [p.shape for p in plain[0].parameters()] == [p.shape for p in packed[0].parameters()]
    changed = [
        (name, before.shape, after.shape)
        for (name, before), after in zip(plain[1].named_parameters(), packed[1].parameters(), strict=True)
        if before.shape != after.shape
    ]
    ((_, before, after),) = changed
    assert after[1] == 2 * before[1]
    assert packed[1](torch.randn(2, 6, 28, 28)).logits.shape == (2,)


@pytest.mark.parametrize("family", ["dense", "upsampling", "dcgan-4", "dcgan-5"])
@pytest.mark.parametrize("condition", ["projection", "auxiliary"])
def test_spectral_norm_makes_the_largest_singular_value_of_every_weight_1(family: str, condition: str) -> None:
    torch.manual_seed(0)
    generator, discriminator = pair(family, torch.eye(3), spectral_norm=True, condition=condition)
    images, labels = torch.randn(2, 1, 28, 28), torch.arange(2)
    for _ in range(30):
        discriminator.train()(images, labels)
    layers = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d | nn.Linear | TagEmbedding)]
    assert len(layers) >= 3
    assert (discriminator.embedding in layers) == (condition == "projection")
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item() == pytest.approx(1, abs=0.05)
    assert not any(hasattr(layer, "parametrizations") for layer in generator.modules())
