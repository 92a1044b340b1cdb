"""Tests of the gradient penalties: the formulas of their papers, and gradients in the discriminator's weights."""

import pytest
import torch
from torch import Tensor, nn

from tests.training.project import FAMILIES, tiny_params
from tests.training.tiny_gan import TWO_TAGS
from training.gan.penalties import r1_r2_penalty, wgan_gp_penalty
from training.gan.stabilisers import pack
from training.networks import Discriminator, build

SHAPE = (5, 2, 3, 4)  # batch, channels, height, width


def test_the_r1_r2_penalty_of_a_linear_critic_is_half_its_squared_weight() -> None:
    weight, images = torch.randn(SHAPE[1:]), torch.randn(SHAPE, requires_grad=True)
    penalty = r1_r2_penalty((images * weight).sum(dim=(1, 2, 3)), images)
    assert penalty.item() == pytest.approx(weight.square().sum().item() / 2, rel=1e-5)


def test_the_r1_r2_penalty_averages_over_images() -> None:
    images = torch.randn(SHAPE, requires_grad=True)
    logits = images.square().sum(dim=(1, 2, 3)) / 2  # whose gradient is the image itself
    by_hand = sum(image.square().sum() for image in images) / len(images) / 2
    torch.testing.assert_close(r1_r2_penalty(logits, images), by_hand)


@pytest.mark.parametrize("norm", [0.0, 0.25, 1.0, 3.0])
def test_the_wgan_gp_penalty_of_a_linear_critic_is_its_squared_distance_from_1(norm: float) -> None:
    weight = nn.functional.normalize(torch.randn(SHAPE[1:]).flatten(), dim=0).view(SHAPE[1:]) * norm
    penalty = wgan_gp_penalty(
        lambda images: (images * weight).sum(dim=(1, 2, 3)), torch.randn(SHAPE), torch.randn(SHAPE)
    )
    assert penalty.item() == pytest.approx((norm - 1) ** 2, abs=1e-5)


def test_the_wgan_gp_penalty_is_taken_at_uniform_interpolates() -> None:
    seen: list[Tensor] = []

    def critic(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return images.square().sum(dim=(1, 2, 3)) / 2

    real, fake = torch.zeros(400, 1, 2, 2), torch.full((400, 1, 2, 2), 4.0)
    penalty = wgan_gp_penalty(critic, real, fake)

    (between,) = seen
    way = between[:, 0, 0, 0] / 4  # 0 at the real image, 1 at the fake
    torch.testing.assert_close(between, way.view(-1, 1, 1, 1).expand_as(between) * 4)
    assert way.mean().item() == pytest.approx(0.5, abs=0.05)
    assert way.std().item() == pytest.approx(12**-0.5, abs=0.03)  # as of uniform draws
    torch.testing.assert_close(penalty, (between.flatten(1).norm(dim=1) - 1).square().mean())


def critic_of(family: str, **network: object) -> Discriminator:
    """A discriminator without zero-initialised weights, as after some training."""
    torch.manual_seed(0)
    params = tiny_params(network=FAMILIES[family] | {"minibatch_std": True} | network)
    _, discriminator = build(params, TWO_TAGS)
    for parameter in discriminator.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, 0.0, 0.1)
    return discriminator


@pytest.mark.parametrize("penalty", ["zero-centred", "one-centred"])
@pytest.mark.parametrize(
    ("family", "spectral_norm"),
    [(name, False) for name in FAMILIES] + [(name, True) for name in FAMILIES if name != "residual"],
)
def test_the_gradient_of_a_penalty_alone_reaches_every_weight(family: str, spectral_norm: bool, penalty: str) -> None:
    discriminator = critic_of(family, spectral_norm=spectral_norm)
    images, labels = torch.randn(6, 1, 28, 28, requires_grad=True), torch.arange(6) % 3
    if penalty == "zero-centred":
        value = r1_r2_penalty(discriminator(images, labels).logits, images)
    else:
        value = wgan_gp_penalty(
            lambda points: discriminator(points, labels).logits, images.detach(), torch.randn_like(images)
        )
    value.backward()  # type: ignore[no-untyped-call]
    # Biases do not affect the gradient at an image: between the kinks of its leaky ReLUs the network is linear.
    weights = {name: p.grad for name, p in discriminator.named_parameters() if not name.endswith("bias")}
    assert len(weights) >= 4
    for name, gradient in weights.items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert gradient.flatten(1).norm(dim=1).min() > 0, name  # every unit gets a gradient


def test_minimising_a_penalty_alone_flattens_the_discriminator() -> None:
    discriminator = critic_of("dcgan-5")
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    images, labels = torch.randn(6, 1, 28, 28, requires_grad=True), torch.arange(6) % 3
    penalties = []
    for _ in range(20):
        optimizer.zero_grad()
        penalty = r1_r2_penalty(discriminator(images, labels).logits, images)
        penalty.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        penalties.append(penalty.item())
    assert penalties[-1] < 0.1 * penalties[0]


def test_the_images_of_a_pack_share_one_gradient_norm() -> None:
    torch.manual_seed(0)
    images, weight = torch.randn(6, 1, 4, 4, requires_grad=True), torch.randn(3, 1, 4, 4)
    packs = pack(images, 3)  # 2 of 3 images each
    penalty = r1_r2_penalty((packs * weight.reshape(1, 3, 4, 4)).sum(dim=(1, 2, 3)), images)
    assert penalty.item() == pytest.approx(weight.square().sum().item() / 2, rel=1e-5)
