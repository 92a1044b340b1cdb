"""Tests that every objective, penalty, network and stabiliser trains, in float32 and under bf16 autocast."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.project import FAMILIES
from tests.training.tiny_gan import BF16_MIXED, TWO_TAGS, recorded_inputs, tiny_gan, train_steps
from training.gan.losses import OBJECTIVES

PENALTIES: dict[str, dict[str, Any]] = {
    "r1": {"r1": 1.0},
    "r2": {"r2": 1.0},
    "r1 and r2": {"r1": 1.0, "r2": 1.0},
    "gradient penalty": {"gradient_penalty": 10.0},
}


def all_finite(history: list[dict[str, float]]) -> bool:
    return all(math.isfinite(value) for scalars in history for value in scalars.values())


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_every_objective_trains_with_every_penalty(objective: str, penalty: str) -> None:
    gan = tiny_gan(objective={"name": objective} | PENALTIES[penalty])
    history = train_steps(gan, 3)
    assert all_finite(history)
    assert all(scalars["penalty"] > 0 for scalars in history)


@pytest.mark.parametrize("objective", sorted(OBJECTIVES.keys() - {"wasserstein"}))
def test_every_objective_trains_without_a_penalty(objective: str) -> None:
    history = train_steps(tiny_gan(objective={"name": objective}), 3)
    assert all_finite(history)
    assert all(scalars["penalty"] == 0 for scalars in history)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("objective", ["non-saturating", "relativistic"])
def test_every_family_trains_under_bf16_autocast_with_both_penalties(family: str, objective: str) -> None:
    for penalty in ({"r1": 1.0, "r2": 1.0}, {"gradient_penalty": 10.0}):
        gan = tiny_gan(
            precision=BF16_MIXED,
            network=FAMILIES[family],
            objective={"name": objective} | penalty,
        )
        history = train_steps(gan, 2)
        assert all_finite(history)
        assert all(scalars["penalty"] > 0 for scalars in history)
        assert all(parameter.dtype == torch.float32 for parameter in gan.discriminator.parameters())


NETWORK_VARIANTS: dict[str, dict[str, Any]] = {
    "auxiliary": {"network": {"condition": "auxiliary"}},
    "no condition": {"network": {"condition": "none"}},
    "packing": {"network": {"condition": "none"}, "stabilise": {"packing": 2}},
    "batch norm": {"network": {"discriminator_norm": "batch"}},
    "batch norm everywhere": {"network": {"discriminator_norm": "batch-everywhere"}},
    "spectral norm": {"network": {"spectral_norm": True}},
    "minibatch std": {"network": {"minibatch_std": True}},
    "generator dropout": {"network": {"generator_dropout": 0.3}},
    "discriminator dropout": {"network": {"discriminator_dropout": 0.3}},
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
CLIPPED = {"name": "wasserstein", "weight_clip": 0.01}
# Variants of the same networks, each with the parameters that it is to differ from.
TRAINING_VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mismatched": ({"objective": {"mismatched": True}}, {}),
    "replay": ({"stabilise": {"replay": 12}}, {}),
    "replay with r2": ({"stabilise": {"replay": 4}, "objective": {"r2": 1.0}}, {"objective": {"r2": 1.0}}),
    "diffaugment": ({"stabilise": {"augment": "diffaugment"}}, {}),
    "diffaugment with r1": (
        {"stabilise": {"augment": "diffaugment"}, "objective": {"r1": 1.0}},
        {"objective": {"r1": 1.0}},
    ),
    "instance noise": ({"stabilise": {"instance_noise": 0.1, "instance_noise_kimg": 1}}, {}),
    "label flips": ({"stabilise": {"label_flip": 0.5}}, {}),
    "label smoothing": ({"stabilise": {"label_smoothing": 0.1}}, {}),
    "label noise": ({"stabilise": {"label_noise": 0.3}}, {}),
    "gradient clipping": ({"stabilise": {"gradient_clip": 1e-3}}, {"stabilise": {"gradient_clip": 1e3}}),
    "weight clipping": ({"objective": CLIPPED}, {"objective": CLIPPED | {"weight_clip": 1.0}}),
    "rmsprop": ({"train": {"discriminator_optimizer": "rmsprop"}}, {}),
    "sgd": ({"train": {"discriminator_optimizer": "sgd", "discriminator_lr": 0.1}}, {}),
    "burn-in": ({"train": {"burn_in": {"kimg": 1, "penalty_factor": 1, "rate_factor": 5, "beta2": 0.5}}}, {}),
}
VARIANTS = NETWORK_VARIANTS | {name: variant for name, (variant, _) in TRAINING_VARIANTS.items()}
BOTH_KINDS_OF_CLASSES = pytest.mark.parametrize("class_tags", [torch.eye(3), TWO_TAGS], ids=["classes", "tags"])


@pytest.mark.parametrize("variant", VARIANTS)
@BOTH_KINDS_OF_CLASSES
def test_every_variant_trains_both_networks(variant: str, class_tags: Tensor) -> None:
    gan = tiny_gan(class_tags, **VARIANTS[variant])
    before = [parameter.clone() for parameter in (*gan.generator.parameters(), *gan.discriminator.parameters())]
    assert all_finite(train_steps(gan, 3))
    after = (*gan.generator.parameters(), *gan.discriminator.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("variant", TRAINING_VARIANTS)
@BOTH_KINDS_OF_CLASSES
def test_every_training_variant_has_an_effect_on_equal_networks_and_latents(variant: str, class_tags: Tensor) -> None:
    gans = [tiny_gan(class_tags, **sections) for sections in TRAINING_VARIANTS[variant]]
    weights = [[p.clone() for p in (*gan.generator.parameters(), *gan.discriminator.parameters())] for gan in gans]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    latents, histories = [], []
    for gan in gans:
        with recorded_inputs(gan.generator.module) as calls:
            histories.append(train_steps(gan, 3))
        latents.append(torch.stack([z for z, _ in calls]))
    assert torch.equal(*latents)
    assert histories[0][2]["d_loss"] != histories[1][2]["d_loss"]


@pytest.mark.parametrize("variant", ["auxiliary", "spectral norm", "everything at once", "no condition"])
def test_variants_train_under_bf16_autocast(variant: str) -> None:
    assert all_finite(train_steps(tiny_gan(TWO_TAGS, BF16_MIXED, **VARIANTS[variant]), 2))


def test_data_without_classes_trains_whatever_the_condition() -> None:
    for condition in ("none", "projection", "auxiliary"):
        assert all_finite(train_steps(tiny_gan(0, network={"condition": condition}), 2))
