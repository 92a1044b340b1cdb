"""Every objective, penalty, network and stabiliser trains, alone and together, on a CPU and as on a GPU."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.project import FAMILIES
from tests.training.tiny_gan import AS_ON_A_GPU, TWO_TAGS, play, tiny_gan
from training.gan.losses import OBJECTIVES

PENALTIES: dict[str, dict[str, Any]] = {
    "r1": {"r1": 1.0},
    "r2": {"r2": 1.0},
    "r1 and r2": {"r1": 1.0, "r2": 1.0},
    "gradient penalty": {"gradient_penalty": 10.0},
}


def all_finite(played: list[dict[str, float]]) -> bool:
    return all(math.isfinite(value) for scalars in played for value in scalars.values())


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_every_objective_trains_with_every_penalty(objective: str, penalty: str) -> None:
    gan = tiny_gan(objective={"name": objective} | PENALTIES[penalty])
    played = play(gan, 3)
    assert all_finite(played)
    assert all(scalars["penalty"] > 0 for scalars in played)


@pytest.mark.parametrize("objective", sorted(OBJECTIVES.keys() - {"wasserstein"}))
def test_every_objective_trains_without_a_penalty(objective: str) -> None:
    played = play(tiny_gan(objective={"name": objective}), 3)
    assert all_finite(played)
    assert all(scalars["penalty"] == 0 for scalars in played)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("objective", ["non-saturating", "relativistic"])
def test_every_family_trains_in_the_arithmetic_of_a_gpu_with_both_penalties(family: str, objective: str) -> None:
    for penalty in ({"r1": 1.0, "r2": 1.0}, {"gradient_penalty": 10.0}):
        gan = tiny_gan(
            arithmetic=AS_ON_A_GPU,
            network=FAMILIES[family],
            objective={"name": objective} | penalty,
        )
        played = play(gan, 2)
        assert all_finite(played)
        assert all(scalars["penalty"] > 0 for scalars in played)
        assert all(parameter.dtype == torch.float32 for parameter in gan.discriminator.parameters())


# What is changed, and over what: everything else is as in `tiny`.
VARIANTS: dict[str, dict[str, Any]] = {
    "auxiliary": {"network": {"condition": "auxiliary"}},
    "no condition": {"network": {"condition": "none"}},
    "mismatched": {"objective": {"mismatched": True}},
    "packing": {"network": {"condition": "none"}, "stabilise": {"packing": 2}},
    "replay": {"stabilise": {"replay": 12}},
    "replay with r2": {"stabilise": {"replay": 4}, "objective": {"r2": 1.0}},
    "diffaugment": {"stabilise": {"augment": "diffaugment"}},
    "diffaugment with r1": {"stabilise": {"augment": "diffaugment"}, "objective": {"r1": 1.0}},
    "instance noise": {"stabilise": {"instance_noise": 0.1, "instance_noise_kimg": 1}},
    "label flips": {"stabilise": {"label_flip": 0.5}},
    "label smoothing": {"stabilise": {"label_smoothing": 0.1}},
    "label noise": {"stabilise": {"label_noise": 0.3}},
    "gradient clipping": {"stabilise": {"gradient_clip": 1e-3}, "train": {"generator_optimizer": "sgd"}},
    "weight clipping": {"objective": {"name": "wasserstein", "weight_clip": 0.01}},
    "batch norm": {"network": {"discriminator_norm": "batch"}},
    "batch norm everywhere": {"network": {"discriminator_norm": "batch-everywhere"}},
    "spectral norm": {"network": {"spectral_norm": True}},
    "minibatch std": {"network": {"minibatch_std": True}},
    "generator dropout": {"network": {"generator_dropout": 0.3}},
    "discriminator dropout": {"network": {"discriminator_dropout": 0.3}},
    "rmsprop": {"train": {"discriminator_optimizer": "rmsprop"}},
    "sgd": {"train": {"discriminator_optimizer": "sgd", "discriminator_lr": 0.1}},
    "burn-in": {"train": {"burn_in": {"kimg": 1, "penalty_factor": 1, "rate_factor": 5, "beta2": 0.5}}},
    "everything at once": {
        "network": {"condition": "auxiliary", "spectral_norm": True, "generator_dropout": 0.1},
        "objective": {"name": "hinge", "gradient_penalty": 1.0, "r1": 1.0, "r2": 1.0},
        "stabilise": {
            "label_flip": 0.1,
            "label_noise": 0.1,
            "instance_noise": 0.1,
            "instance_noise_kimg": 1,
            "augment": "ada",
            "replay": 12,
            "gradient_clip": 1.0,
        },
        "train": {"discriminator_steps": 2, "generator_steps": 2, "generator_optimizer": "rmsprop"},
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("tags", [torch.eye(3), TWO_TAGS], ids=["classes", "tags"])
def test_every_variant_trains_and_is_not_the_plain_game(variant: str, tags: Tensor) -> None:
    gan, plain = tiny_gan(tags, **VARIANTS[variant]), tiny_gan(tags)
    played = play(gan, 3)
    assert all_finite(played)
    assert played[2] != play(plain, 3)[2]


@pytest.mark.parametrize("variant", ["auxiliary", "spectral norm", "everything at once", "no condition"])
def test_variants_train_in_the_arithmetic_of_a_gpu(variant: str) -> None:
    assert all_finite(play(tiny_gan(TWO_TAGS, AS_ON_A_GPU, **VARIANTS[variant]), 2))


def test_data_without_classes_trains_whatever_the_condition() -> None:
    for condition in ("none", "projection", "auxiliary"):
        assert all_finite(play(tiny_gan(0, network={"condition": condition}), 2))
