"""Tests that a trainer restored from its state continues bit for bit as an uninterrupted one."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.tiny_gan import tiny_gan, train_steps
from training.gan.trainer import GANTrainer


def learned_values(gan: GANTrainer) -> list[Tensor]:
    """Parameters and buffers of all three networks."""
    networks = (gan.ema, gan.generator, gan.discriminator)
    return [value.clone() for network in networks for value in network.state_dict().values()]


INTERRUPTED: dict[str, dict[str, Any]] = {
    "network": {"spectral_norm": True, "generator_dropout": 0.1},
    "objective": {"r1": 1.0, "r2": 1.0},
    "stabilise": {
        "augment": "ada",
        "ada_kimg": 0.64,
        "instance_noise": 0.2,
        "instance_noise_kimg": 0.2,
        "replay": 20,
        "label_flip": 0.1,
    },
    "train": {
        "discriminator_steps": 2,
        "burn_in": {"kimg": 0.15, "penalty_factor": 4.0, "rate_factor": 3.0, "beta2": 0.5},
        "discriminator_optimizer": "rmsprop",
    },
}


@pytest.mark.parametrize("steps", [1, 5, 7])
@pytest.mark.parametrize("objective", ["non-saturating", "hinge"])
def test_a_restored_trainer_continues_as_an_uninterrupted_one(steps: int, objective: str) -> None:
    sections: dict[str, Any] = INTERRUPTED | {"objective": INTERRUPTED["objective"] | {"name": objective}}
    first = tiny_gan(**sections)
    train_steps(first, steps)
    saved = copy.deepcopy(first.state_dict())
    expected = train_steps(first, 12 - steps)
    assert first.ada.p > 0  # otherwise nothing of it would be restored
    assert first.replay_buffer.state_dict()["images"].shape == (20, 1, 28, 28)

    again = tiny_gan(**sections)
    train_steps(again, 2)  # must have no effect
    again.load_state_dict(saved)
    resumed = train_steps(again, 12 - steps)

    assert again.steps == 12
    assert resumed == expected
    assert all(torch.equal(a, b) for a, b in zip(learned_values(first), learned_values(again), strict=True))
    assert again.ada.p == first.ada.p
