"""CHAIN: it amplifies no channel, it starts as the identity, and p follows the discriminator's confidence."""

import copy

import pytest
import torch

from training.networks import chain
from training.networks.chain import ChainNorm


def norm(p: float) -> ChainNorm:
    layer = ChainNorm()
    layer.p.fill_(p)
    return layer


def features() -> torch.Tensor:
    """Channels whose sizes differ by far."""
    scale = torch.tensor([0.1, 1.0, 10.0])[:, None, None]
    return torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * scale + 0.5


def test_at_first_features_pass_unchanged() -> None:
    assert torch.equal(norm(0.0)(features()), features())


def test_every_channel_gets_the_size_of_the_smallest() -> None:
    sizes = norm(1.0)(features()).square().mean((0, 2, 3)).sqrt()
    smallest = features().square().mean((0, 2, 3)).sqrt().min()
    assert sizes == pytest.approx(smallest.expand(3), rel=1e-3)


@pytest.mark.parametrize("p", [0.3, 1.0])
def test_no_difference_of_two_images_is_amplified(p: float) -> None:
    """For the statistics of one batch, the layer is linear in the image with factors of at most 1."""
    x = features()
    size = x.square().mean((0, 2, 3)).sqrt()
    out = norm(p)(x)
    factors = (out / x).amax((0, 2, 3))
    assert (factors <= 1 + 1e-5).all()
    assert factors.argmax() == size.argmin()


def test_the_penalty_is_on_the_means_of_the_channels() -> None:
    layer = norm(0.5)
    layer(features())
    penalty = chain.pop_mean_penalty(layer)
    assert penalty is not None
    assert penalty.item() == pytest.approx(chain.WEIGHT * 0.5 * features().mean((0, 2, 3)).square().mean().item())
    assert chain.pop_mean_penalty(layer) is None
    copy.deepcopy(layer)  # as the probes do: nothing of the graph is left


def test_p_rises_while_real_images_are_recognised_and_stays_within_its_bounds() -> None:
    layer = norm(0.0)
    chain.adapt(layer, torch.tensor([1.0, -1.0]))
    assert layer.p == 0
    chain.adapt(layer, torch.tensor([1.0, 2.0, 3.0, -0.1]))  # a mean sign of 0.5: at the target
    assert layer.p == 0
    for _ in range(3):
        chain.adapt(layer, torch.ones(4))
    assert layer.p.item() == pytest.approx(3 * chain.STEP)
    chain.adapt(layer, -torch.ones(4))
    assert layer.p.item() == pytest.approx(2 * chain.STEP)
