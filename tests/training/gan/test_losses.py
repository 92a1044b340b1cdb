"""Tests of the GAN losses: the formulas of their papers, on logits, without overflow."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.gan.losses import (
    OBJECTIVES,
    Targets,
    auxiliary_loss,
    discriminator_loss,
    energy_distance,
    generator_loss,
)

REAL = torch.tensor([0.3, -1.2, 2.0, 0.9], dtype=torch.float64)
FAKE = torch.tensor([-0.7, 0.1, 1.5, -3.0], dtype=torch.float64)


def d(logits: Tensor) -> Tensor:
    """D(x) as the papers write it, a probability."""
    return 1 / (1 + (-logits).exp())


def minimax(real: Tensor, fake: Tensor) -> Tensor:
    return -d(real).log() - (1 - d(fake)).log()


# What the discriminator and the generator minimise, from the logits of real images x and fakes g.
FORMULAS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "saturating": (minimax, lambda x, g: (1 - d(g)).log()),
    "non-saturating": (minimax, lambda x, g: -d(g).log()),
    "least-squares": (lambda x, g: (x - 1) ** 2 / 2 + g**2 / 2, lambda x, g: (g - 1) ** 2 / 2),
    "hinge": (lambda x, g: torch.clamp(1 - x, min=0) + torch.clamp(1 + g, min=0), lambda x, g: -g),
    "wasserstein": (lambda x, g: g - x, lambda x, g: -g),
    "relativistic": (lambda x, g: -d(x - g).log(), lambda x, g: -d(g - x).log()),
}
EVERY_OBJECTIVE = pytest.mark.parametrize("name", FORMULAS)


def test_every_objective_has_its_formula() -> None:
    assert set(FORMULAS) == set(OBJECTIVES)


@EVERY_OBJECTIVE
def test_losses_equal_the_formulas_of_their_papers(name: str) -> None:
    for_discriminator, for_generator = FORMULAS[name]
    ours = discriminator_loss(OBJECTIVES[name], REAL, FAKE)
    assert ours.item() == pytest.approx(for_discriminator(REAL, FAKE).mean().item(), abs=1e-6)
    ours = generator_loss(OBJECTIVES[name], FAKE, REAL)
    assert ours.item() == pytest.approx(for_generator(REAL, FAKE).mean().item(), abs=1e-6)


def test_the_loss_at_chance_level_is_two_log_two() -> None:
    chance, objective = torch.zeros(4), OBJECTIVES["non-saturating"]
    assert discriminator_loss(objective, chance, chance).item() == pytest.approx(2 * math.log(2), abs=1e-6)
    assert generator_loss(objective, chance).item() == pytest.approx(math.log(2), abs=1e-6)


@EVERY_OBJECTIVE
@pytest.mark.parametrize("real", [-100.0, 100.0])
@pytest.mark.parametrize("fake", [-100.0, 100.0])
def test_losses_and_gradients_are_finite_where_a_sigmoid_would_saturate(name: str, real: float, fake: float) -> None:
    reals, fakes = torch.tensor([real], requires_grad=True), torch.tensor([fake], requires_grad=True)
    soft = Targets(torch.tensor([0.9]), torch.tensor([0.1]))
    losses = (
        discriminator_loss(OBJECTIVES[name], reals, fakes),
        discriminator_loss(OBJECTIVES[name], reals, fakes, soft),
        generator_loss(OBJECTIVES[name], fakes, reals),
    )
    for loss in losses:
        slopes = torch.autograd.grad(loss, (reals, fakes), allow_unused=True)
        assert math.isfinite(loss.item())
        assert all(slope.isfinite().all() for slope in slopes if slope is not None)
        assert slopes[1] is not None  # every loss depends on the fakes


def test_where_the_discriminator_is_sure_only_the_saturating_gradient_vanishes() -> None:
    sure_of_a_fake = torch.tensor([-50.0], requires_grad=True)
    slopes = {
        name: torch.autograd.grad(generator_loss(OBJECTIVES[name], sure_of_a_fake), sure_of_a_fake)[0].item()
        for name in ("saturating", "non-saturating")
    }
    assert slopes["saturating"] == pytest.approx(0, abs=1e-20)
    assert slopes["non-saturating"] == pytest.approx(-1, abs=1e-6)


def test_generator_losses_fall_with_the_logits_of_fakes() -> None:
    for objective in OBJECTIVES.values():
        lower, higher = (generator_loss(objective, torch.tensor([fake]), torch.zeros(1)) for fake in (-0.5, 0.5))
        assert higher < lower


def test_a_paired_objective_requires_real_logits() -> None:
    with pytest.raises(ValueError, match="needs the logits of real images"):
        generator_loss(OBJECTIVES["relativistic"], FAKE)


def test_soft_labels_give_the_binary_cross_entropy_with_them() -> None:
    real, fake = torch.tensor([0.9, 1, 0.8, 0], dtype=torch.float64), torch.tensor([0, 0.1, 0.3, 0.2]).double()
    by_hand = -(
        real * d(REAL).log() + (1 - real) * (1 - d(REAL)).log()
        + fake * d(FAKE).log() + (1 - fake) * (1 - d(FAKE)).log()
    )  # fmt: skip
    ours = discriminator_loss(OBJECTIVES["non-saturating"], REAL, FAKE, Targets(real, fake))
    assert ours.item() == pytest.approx(by_hand.mean().item(), abs=1e-6)


def test_soft_labels_interpolate_the_least_squares_losses() -> None:
    real, fake = torch.full((4,), 0.7).double(), torch.full((4,), 0.2).double()
    by_hand = 0.7 * (REAL - 1) ** 2 / 2 + 0.3 * REAL**2 / 2 + 0.2 * (FAKE - 1) ** 2 / 2 + 0.8 * FAKE**2 / 2
    ours = discriminator_loss(OBJECTIVES["least-squares"], REAL, FAKE, Targets(real, fake))
    assert ours.item() == pytest.approx(by_hand.mean().item(), abs=1e-6)


@pytest.mark.parametrize("name", ["saturating", "non-saturating", "least-squares", "hinge"])
def test_soft_labels_of_1_and_0_equal_plain_labels(name: str) -> None:
    plain = Targets(torch.ones_like(REAL), torch.zeros_like(FAKE))
    ours = discriminator_loss(OBJECTIVES[name], REAL, FAKE, plain)
    assert ours.item() == pytest.approx(discriminator_loss(OBJECTIVES[name], REAL, FAKE).item(), abs=1e-12)


TAG_LOGITS = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.2, -0.3]], dtype=torch.float64)


def test_the_auxiliary_loss_of_plain_classes_is_a_cross_entropy() -> None:
    shares = TAG_LOGITS.exp() / TAG_LOGITS.exp().sum(dim=1, keepdim=True)
    by_hand = -(shares[0, 2].log() + shares[1, 0].log()) / 2
    classes = torch.tensor([[0, 0, 1], [1, 0, 0]]).double()
    assert auxiliary_loss(TAG_LOGITS, classes, exclusive_tags=True).item() == pytest.approx(by_hand.item(), abs=1e-6)


# The second batch has images of one tag only, which must not turn the loss into a cross-entropy.
@pytest.mark.parametrize("tags", [[[0, 1, 1], [1, 0, 0]], [[0, 1, 0], [1, 0, 0]]])
def test_the_auxiliary_loss_of_several_tags_is_a_sum_of_binary_cross_entropies(tags: list[list[int]]) -> None:
    wanted = torch.tensor(tags).double()
    entropies = -(wanted * d(TAG_LOGITS).log() + (1 - wanted) * (1 - d(TAG_LOGITS)).log())
    ours = auxiliary_loss(TAG_LOGITS, wanted, exclusive_tags=False)
    assert ours.item() == pytest.approx(entropies.sum(dim=1).mean().item(), abs=1e-6)


def test_the_energy_distance_is_zero_between_equal_distributions_and_grows_as_they_part() -> None:
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2000, 2, generator=random) for _ in range(2))
    assert energy_distance(x, y).item() == pytest.approx(0, abs=0.01)
    assert energy_distance(x, y + 1).item() > 0.3
    assert energy_distance(x, torch.zeros_like(y)).item() > 0.5  # one point in the middle is no distribution


def test_the_energy_distance_has_a_finite_gradient_between_equal_fakes() -> None:
    fakes = torch.zeros(4, 2, requires_grad=True)
    energy_distance(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)), fakes).backward()
    assert fakes.grad is not None
    assert fakes.grad.isfinite().all()
