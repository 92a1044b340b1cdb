"""Tests of optimisers and schedules: both networks get theirs, and the burn-in starts and ends where params say."""

import math
from typing import Any

import pytest
from torch.optim import SGD, Adam, Optimizer, RMSprop

from tests.training.tiny_gan import tiny_gan, train_steps
from training.gan.optimizers import cosine_schedule


def test_a_cosine_schedule_starts_and_ends_at_its_values_and_stays_there() -> None:
    assert [cosine_schedule(3.0, -1.0, progress) for progress in (0, 0.5, 1, 1.5, 2)] == pytest.approx(
        [3, 1, -1, -1, -1]
    )
    assert cosine_schedule(3.0, 0.7, 1.0) == 0.7  # exactly
    quarters = [cosine_schedule(1.0, 0.0, progress) for progress in (0.25, 0.75)]
    assert quarters == pytest.approx([(1 + math.sqrt(0.5)) / 2, (1 - math.sqrt(0.5)) / 2])


@pytest.mark.parametrize(
    ("name", "expected", "settings"),
    [
        ("adam", Adam, {"betas": (0.3, 0.8)}),
        ("rmsprop", RMSprop, {"alpha": 0.8, "momentum": 0}),
        ("sgd", SGD, {"momentum": 0.3, "nesterov": False}),
    ],
)
def test_each_network_has_the_optimiser_and_learning_rate_of_params(
    name: str, expected: type[Optimizer], settings: dict[str, Any]
) -> None:
    other, expected_other = ("adam", Adam) if name != "adam" else ("sgd", SGD)
    rates = {"generator_lr": 2e-4, "discriminator_lr": 5e-5, "beta1": 0.3, "beta2": 0.8}
    for network, opponent in (("generator", "discriminator"), ("discriminator", "generator")):
        gan = tiny_gan(train=rates | {f"{network}_optimizer": name, f"{opponent}_optimizer": other})
        train_steps(gan, 2)
        optimizers = {"generator": gan.generator_optimizer, "discriminator": gan.discriminator_optimizer}
        assert type(optimizers[network].optimizer) is expected
        assert type(optimizers[opponent].optimizer) is expected_other
        (group,) = optimizers[network].param_groups
        assert group["lr"] == rates[f"{network}_lr"]
        assert {key: group[key] for key in settings} == settings


BURN_IN = {"kimg": 0.08, "penalty_factor": 10.0, "rate_factor": 4.0, "beta2": 0.5}  # of 10 steps


def test_the_burn_in_moves_learning_rates_and_beta2_from_its_own_values_to_the_final_ones() -> None:
    gan = tiny_gan(train={"burn_in": BURN_IN, "discriminator_lr": 2e-4, "discriminator_optimizer": "rmsprop"})
    rates, decays = [], []
    for _ in range(12):
        train_steps(gan, 1)
        (generator,), (discriminator,) = gan.generator_optimizer.param_groups, gan.discriminator_optimizer.param_groups
        rates.append((generator["lr"], discriminator["lr"]))
        decays.append((generator["betas"], discriminator["alpha"]))
    assert rates[0] == (4e-3, 8e-4)
    assert rates[5] == pytest.approx((2.5e-3, 5e-4))
    assert rates[10] == rates[11] == (1e-3, 2e-4)
    assert rates == sorted(rates, reverse=True)
    assert decays[0] == ((0.5, 0.5), 0.5)
    assert decays[5] == (pytest.approx((0.5, 0.745)), pytest.approx(0.745))
    assert decays[10] == decays[11] == ((0.5, 0.99), 0.99)


@pytest.mark.parametrize("penalty", ["r1", "r2"])
def test_the_burn_in_scales_the_penalty_until_it_ends(penalty: str) -> None:
    plain, stronger = (
        tiny_gan(objective={penalty: 1.0}, train={"burn_in": BURN_IN | {"penalty_factor": factor}})
        for factor in (1.0, 10.0)
    )
    (first,), (scaled,) = train_steps(plain, 1), train_steps(stronger, 1)
    assert scaled["penalty"] == pytest.approx(10 * first["penalty"], rel=1e-4)
    plain.steps = stronger.steps = 10
    stronger.discriminator.load_state_dict(plain.discriminator.state_dict())
    stronger.generator.load_state_dict(plain.generator.state_dict())
    assert train_steps(stronger, 1)[0]["penalty"] == pytest.approx(train_steps(plain, 1)[0]["penalty"], rel=1e-4)
