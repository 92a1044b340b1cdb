"""Recipes of the doctor's benchmark: runs that are made to fail, each in one way, and healthy ones.

All are small variants of presets, so that a run takes about a minute on one core. Each failure has the name that the
doctor should find, chosen before any run was diagnosed, by what was done to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.configs import config
from training.params import Params
from training.presets import deep_merge

Plant = Literal["nan", "no batch norm", "shuffled labels"]
DATA = ("clothes", "flowers")
FORMATS: dict[str, dict[str, Any]] = {
    "clothes": {"resolution": 28, "channels": 1},
    "flowers": {"resolution": 28, "channels": 3},
}
# Every second recipe, chosen before any run was recorded.
TUNED = (
    "D rate x 50",
    "G rate x 50",
    "D a quarter of G",
    "200 images, no augmentation",
    "beta1 0.9, rates x 5",
    "default",
    "twice as wide",
    "half as long",
    "hinge",
    "DiffAugment",
    "spectral norm",
    "200 images, DiffAugment",
)
# Half as wide and a seventh as long as the default, with an EMA as much shorter.
SMALL: dict[str, Any] = {
    "network": {"generator_width": 16, "discriminator_width": 16},
    "train": {"length": "32 kimg", "ema_half_life_kimg": 2.0},
}


@dataclass(frozen=True)
class Recipe:
    """A kind of run. names: diagnoses that count as right, the expected one first; empty for a healthy run."""

    name: str
    names: tuple[str, ...] = ()
    preset: str = "default"
    changes: Mapping[str, Any] = field(default_factory=dict)
    images: int | None = None  # trained on; None for all
    plant: Plant | None = None
    data: tuple[str, ...] = DATA
    seeds: int = 9  # the first was looked at while the signs of failure were written
    twin: str = "default"  # of a failure: the healthy recipe that a healed run is compared with
    curable: bool = True  # by other parameters, within the budget

    @property
    def tuned(self) -> bool:
        """True if the doctor's thresholds were chosen on its runs on clothes."""
        return self.name in TUNED

    @property
    def healthy(self) -> bool:
        """True for a recipe that should not be diagnosed with anything."""
        return not self.names

    def params(self, data: str, seed: int) -> Params:
        """Parameters of one run on `clothes` or `flowers`."""
        small = {"train": {"length": "8 kimg", "ema_half_life_kimg": 1.0}} if self.preset == "photos" else SMALL
        changes = deep_merge(small, dict(self.changes))
        return config(self.preset, **deep_merge(changes, {"data": FORMATS[data], "train": {"seed": seed}}))


def _train(**values: Any) -> dict[str, Any]:
    return {"train": values}


FAILURES = (
    Recipe("D rate x 50", ("discriminator dominates",), changes=_train(discriminator_lr=0.05)),
    Recipe("G rate x 50", ("mode collapse", "explosion"), changes=_train(generator_lr=0.05)),
    Recipe("latent 1", ("mode collapse", "partial collapse"), changes={"network": {"latent_dim": 1}}),
    Recipe(
        "D a quarter of G",
        ("generator dominates", "partial collapse"),
        changes={"network": {"generator_width": 32, "discriminator_width": 4}},
    ),
    Recipe(
        "200 images, no augmentation",
        ("discriminator overfits", "memorising"),
        changes=_train(length="64 kimg"),
        images=200,
        twin="200 images, DiffAugment",
    ),
    Recipe(
        "beta1 0.9, rates x 5",
        ("oscillation",),
        changes=_train(beta1=0.9, generator_lr=5.0e-3, discriminator_lr=5.0e-3),
    ),
    Recipe("NaN planted", ("explosion",), plant="nan"),
    Recipe(
        "plain DCGAN far past its best",
        ("discriminator overfits", "memorising", "oscillation"),
        preset="digits-dcgan",
        changes=_train(
            batch=16, generator_lr=1.0e-3, discriminator_lr=1.0e-3, ema_half_life_kimg=0.0, length="64 kimg"
        ),
        images=200,
        twin="200 images, DiffAugment",
    ),
    Recipe(
        "no batch norm",
        ("discriminator dominates", "mode collapse"),
        changes={"network": {"discriminator_norm": "none"}},
        plant="no batch norm",
        # Of six settings the best, RpGAN with R1 and R2, ends at KID 0.74 on clothes, where the twin has 0.39; batch
        # norm in D 0.96, spectral norm 1.12, with hinge and half the rates 1.44, R1 and R2 1.16, rates / 4 1.77.
        curable=False,
    ),
    Recipe("labels shuffled", ("labels do not match",), plant="shuffled labels", twin="no classes"),
)
BARE_D: dict[str, Any] = {"network": {"discriminator_norm": "none"}}
# No WGAN-GP, and none of 8 channels: at this length neither had a setting that could be called healthy.
HEALTHY = (
    Recipe("default"),
    Recipe("latent 32", changes={"network": {"latent_dim": 32}}, seeds=4),
    Recipe("twice as wide", changes={"network": {"generator_width": 32, "discriminator_width": 32}}, seeds=4),
    Recipe("half as long", changes=_train(length="16 kimg"), seeds=4),
    Recipe("twice as long", changes=_train(length="64 kimg"), seeds=4),
    Recipe("batch 64", changes=_train(batch=64), seeds=4),
    Recipe("hinge", changes={"objective": {"name": "hinge"}}, seeds=4),
    Recipe("least squares", changes={"objective": {"name": "least-squares"}}, seeds=4),
    Recipe("DiffAugment", changes={"stabilise": {"augment": "diffaugment"}}, seeds=4),
    Recipe("no classes", changes={"network": {"condition": "none"}}, seeds=4),
    Recipe("R1", changes=BARE_D | {"objective": {"r1": 0.05}}, seeds=4),
    Recipe(
        "RpGAN, R1 and R2",
        changes=BARE_D | {"objective": {"name": "relativistic", "r1": 0.05, "r2": 0.05}} | _train(beta1=0.0),
        seeds=4,
    ),
    Recipe("spectral norm", changes={"network": {"discriminator_norm": "none", "spectral_norm": True}}, seeds=4),
    Recipe(
        "200 images, DiffAugment",
        changes={"stabilise": {"augment": "diffaugment"}} | _train(length="64 kimg"),
        images=200,
        seeds=4,
    ),
    Recipe("1,000 images", changes={"stabilise": {"augment": "diffaugment"}}, images=1000, seeds=4),
    Recipe("photos", preset="photos", data=("flowers",), seeds=4),
)
RECIPES = {recipe.name: recipe for recipe in (*FAILURES, *HEALTHY)}
