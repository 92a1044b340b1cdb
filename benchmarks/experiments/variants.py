"""Experiments of the source tutorials with their variants, in one table.

A variant is a preset with a few values changed. At full scale it has its source's size; at small scale it has fewer
images, narrower networks and fewer epochs, so that all variants take an hour on two cores. Learning rates are then a
few times the source's, because so short a run has few steps.
"""

from dataclasses import dataclass, field

from benchmarks.experiments.settings import ROOT, Scale
from serving.error_messages import did_you_mean
from serving.errors import MintError
from training.params import Params, read_params, validate_params
from training.presets import ParamDict, deep_merge, load_preset

SEED_STRIDE = 100_000  # an epoch's shuffle is seeded with seed + epoch: so far apart, no two runs share one


@dataclass(frozen=True)
class Size:
    """Size of a run."""

    images: int | None  # in the training set; None for all
    epochs: int
    values: ParamDict = field(default_factory=dict)  # parameters changed for the scale
    rate_factor: float = 1.0
    evaluated: int = 256  # generated images in the final evaluation
    classifier_epochs: int = 3
    pool: int | None = None  # images read from the source; None for all


@dataclass(frozen=True)
class Variant:
    """A preset with changed values, at two sizes."""

    name: str
    label: str  # in tables
    preset: str
    changes: ParamDict
    small: Size
    full: Size
    times_source: bool = False  # also time the source's own network in a small run

    def size(self, scale: Scale) -> Size:
        """The size at a scale."""
        return self.small if scale == "small" else self.full

    def params(self, size: Size, seed: int) -> Params:
        """Parameters of one run. Raises ParamsError where they do not go together."""
        values = read_params(ROOT / "params.yaml")
        # The variant's own changes come last: the scale must not undo them.
        for overrides in (load_preset(self.preset).values, size.values, self.changes):
            values = deep_merge(values, overrides)
        train = values["train"]
        for rate in ("generator_lr", "discriminator_lr"):
            train[rate] *= size.rate_factor
        train |= {"length": f"{size.epochs} epochs", "seed": seed * SEED_STRIDE}
        values["data"]["limit"] = size.images
        return validate_params(values, f"variant {self.name}")


@dataclass(frozen=True)
class Experiment:
    """Variants that answer a question together."""

    name: str
    title: str
    question: str
    source: str  # what the source ran and found
    differs: str  # differences at small scale, apart from sizes and learning rates
    columns: tuple[str, ...]  # of its table: keys of `summary.COLUMNS`
    compared: tuple[str, ...]  # those in which `findings` names the best variant
    variants: tuple[Variant, ...]


def _latent(dim: int, short: bool) -> Variant:
    """Latent size, with the source's larger or smaller dataset."""
    narrow: ParamDict = {
        "data": {"channels": 1},
        "network": {"generator_width": 16, "discriminator_width": 4},
        "train": {"batch": 16, "horizontal_flip": 0.0},
    }
    return Variant(
        f"latent-{dim}-short" if short else f"latent-{dim}",
        f"latent {dim}, short" if short else f"latent {dim}",
        "flowers-28",
        {"network": {"latent_dim": dim}},
        small=Size(60 if short else 150, 50 if short else 100, narrow, rate_factor=2.5),
        full=Size(500 if short else 3500, 50 if short else 250, evaluated=1000),
    )


NARROW_DCGAN: ParamDict = {
    "data": {"resolution": 28, "channels": 1},
    "network": {"generator_width": 16, "discriminator_width": 16},
    "train": {"batch": 16, "horizontal_flip": 0.0},  # Fashion-MNIST's shoes all point to the left
}


def _faces(name: str, label: str, preset: str = "anime-dcgan", **changes: ParamDict) -> Variant:
    """Variant on the anime faces; at small scale on Fashion-MNIST at 28 px."""
    return Variant(
        name,
        label,
        preset,
        dict(changes),
        small=Size(500, 50, NARROW_DCGAN, rate_factor=5.0),
        full=Size(None, 50, evaluated=1000),
    )


def _penalty(weight: float, name: str) -> Variant:
    label = f"WGAN-GP, lambda {weight:g}, 5 critic steps"
    return _faces(name, label, "anime-wgan-gp", objective={"gradient_penalty": weight})


def _critic_steps(steps: int) -> Variant:
    label = f"WGAN-GP, lambda 10, {steps} critic step{'s' if steps > 1 else ''}"
    return _faces(f"wgan-gp-steps-{steps}", label, "anime-wgan-gp", train={"discriminator_steps": steps})


def _digits(preset: str, label: str, narrow: ParamDict) -> Variant:
    small = Size(500, 100, deep_merge({"train": {"batch": 32}}, narrow), rate_factor=5.0)
    return Variant(preset, label, preset, {}, small, full=Size(None, 100, evaluated=1000))


def _colour(side: int, images: int) -> Variant:
    """Variant on RGB images; at small scale with a DCGAN, as the preset's network is too slow to learn at 64 px."""
    narrow: ParamDict = {
        "network": {
            "name": "dcgan",
            "kernel": 5,
            "generator_width": 8,
            "discriminator_width": 8,
            "discriminator_norm": "batch",
            "discriminator_dropout": 0.0,
        },
        "train": {"batch": 16, "horizontal_flip": 0.0},
    }
    return Variant(
        f"rgb-{side}-{images}",
        f"{side} px, {images:,} images",
        f"flowers-{side}",
        {},
        small=Size(images, 21_000 // images, narrow, rate_factor=5.0),  # the same number of images seen
        full=Size(images, 250, evaluated=500),
        times_source=True,
    )


def _remedy(name: str, label: str, **changes: ParamDict) -> Variant:
    """Unstable DCGAN with a remedy: unstable as in the sources at full scale, through a high beta1 at small."""
    unstable = deep_merge(NARROW_DCGAN, {"train": {"beta1": 0.9}, "stabilise": {"instance_noise_kimg": 15}})
    return Variant(
        f"collapse-{name}",
        label,
        "anime-dcgan",
        dict(changes),
        small=Size(500, 50, unstable, rate_factor=5.0),
        full=Size(None, 50, {"stabilise": {"instance_noise_kimg": 250}}, evaluated=1000),
    )


SPECTRAL: ParamDict = {"spectral_norm": True, "discriminator_norm": "none"}
QUALITY = ("kid", "precision", "recall", "diversity", "coverage")

EXPERIMENTS = (
    Experiment(
        name="latent",
        title="Latent size",
        question="What can a latent of 1, 10, 50 or 100 dimensions express?",
        source="3,500 images for 250 epochs and 500 images for 50 epochs of RGB flowers. Latent 10 got worse after "
        "epoch 80, latent 50 was better, and latent 1 can only morph along a curve, which alone is no collapse.",
        differs="Fashion-MNIST in grey instead of flowers in RGB.",
        columns=(*QUALITY, "step_ms"),
        compared=("kid", "recall", "diversity"),
        variants=tuple(_latent(dim, short) for short in (False, True) for dim in (1, 10, 50, 100)),
    ),
    Experiment(
        name="critics",
        title="DCGAN, WGAN and WGAN-GP",
        question="How do clipped weights, the weight of the gradient penalty and the critic's steps change the share "
        "of good samples?",
        source="33,431 anime faces of 64 px for 50 epochs; lambda 0.5, 5 and 10; 1, 2 and 4 critic steps. The yield is "
        "the share of samples that a person would keep; here it is precision (Kynkaanniemi et al. 2019).",
        differs="Fashion-MNIST at 28 px instead of faces at 64 px, which cannot be embedded here, and no mirroring. "
        "Every variant sees the same number of real images, so more critic steps are fewer steps of the generator.",
        columns=("precision", "kid", "recall", "coverage", "steps", "step_ms"),
        compared=("precision", "kid"),
        variants=(
            _faces("dcgan", "DCGAN"),
            _faces("wgan", "WGAN, clipped at 0.01, 5 critic steps", "anime-wgan"),
            _penalty(0.5, "wgan-gp-lambda-half"),
            _penalty(5.0, "wgan-gp-lambda-5"),
            _penalty(10.0, "wgan-gp-lambda-10"),
            *(_critic_steps(steps) for steps in (1, 2, 4)),
        ),
    ),
    Experiment(
        name="digits",
        title="Vanilla GAN against DCGAN",
        question="What do convolutions buy, and what do they cost?",
        source="28 px digits; sample grids at epochs 1, 10, 50 and 100. The vanilla GAN was faster and grainier; a "
        "DCGAN of one source ended with only 3, 5 and 8.",
        differs="Fashion-MNIST, which has the digits' size, depth and number of classes. The vanilla GAN keeps the "
        "source's width, since it is cheap.",
        columns=(*QUALITY, "images_per_second", "sampled_per_second"),
        compared=("kid", "coverage", "images_per_second", "sampled_per_second"),
        variants=(
            _digits("digits-gan", "vanilla GAN (dense)", {}),
            _digits("digits-dcgan", "DCGAN", {"network": {"generator_width": 16, "discriminator_width": 16}}),
        ),
    ),
    Experiment(
        name="colour",
        title="RGB at 28 px against 64 px",
        question="What does a higher resolution cost, and how soon are samples recognisable with 1,000 and 3,000 "
        "images?",
        source="RGB flowers with the network of upsampling and convolutions, 250 epochs.",
        differs="A narrow DCGAN is trained in the place of the source's network, whose cost is timed beside it on "
        "noise, at its own widths. The 64 px images are enlarged from 28 px unless rgb_source is set, so they "
        "cost as much as 64 px and show no more detail.",
        columns=(
            "recognisable",
            "seen_until_recognisable",
            "kid",
            "precision",
            "coverage",
            "step_ms",
            "source_image_ms",
        ),
        compared=("seen_until_recognisable", "kid"),
        variants=tuple(_colour(side, images) for side in (28, 64) for images in (1000, 3000)),
    ),
    Experiment(
        name="rotation",
        title="Aligned against rotated images",
        question="What does it cost a GAN that its images are not aligned?",
        source="Anime faces, aligned and turned by up to 30 degrees.",
        differs="Fashion-MNIST at 28 px instead of faces at 64 px. Corners are filled by reflection, since black ones "
        "would be learned. Both are compared with aligned real images.",
        columns=QUALITY,
        compared=("kid", "precision", "recall", "diversity"),
        variants=(
            _faces("aligned", "aligned", train={"rotation": 0.0}),
            _faces("rotated", "rotated by up to 30 degrees", train={"rotation": 30.0}),
        ),
    ),
    Experiment(
        name="collapse",
        title="Collapse by epoch 35, and remedies",
        question="Has a plain DCGAN collapsed by epoch 35, and what does each remedy change, alone?",
        source="33,431 anime faces of 64 px for 50 epochs: from epoch 30 on the generator's loss soared, at 40 it was "
        "zero and the discriminator sat at 13.8, where a sigmoid saturates.",
        differs="The source's million images do not fit into half a minute, and its plain DCGAN does not collapse in "
        "so short a run. So all variants but the first take Adam's own beta1 of 0.9 instead of 0.5, of which Radford "
        "et al. 2015 say that it makes training oscillate and unstable.",
        columns=("collapsed", "coverage_at_35", "diversity_at_35", "kid", "precision", "recall", "coverage"),
        compared=("kid", "recall", "coverage"),
        variants=(
            _faces("collapse-source", "plain, beta1 0.5"),
            _remedy("plain", "plain"),
            _remedy("flip", "one-sided label flips 0.1", stabilise={"label_flip": 0.1}),
            _remedy("dropout", "dropout 0.3 in D", network={"discriminator_dropout": 0.3}),
            _remedy("spectral", "spectral norm for batch norm", network=SPECTRAL),
            _remedy("noise", "instance noise", stabilise={"instance_noise": 0.1}),
            _remedy("packing", "packing 4", stabilise={"packing": 4}),
            _remedy("minibatch-std", "minibatch standard deviation", network={"minibatch_std": True}),
            _remedy("replay", "replay of old fakes", stabilise={"replay": 512}),
            _remedy("diffaugment", "DiffAugment", stabilise={"augment": "diffaugment"}),
            _remedy("slow-d", "D at a quarter of the rate", train={"discriminator_lr": 5.0e-5}),
            _remedy(
                "relativistic",
                "relativistic + R1 + R2, no norm",
                network={"discriminator_norm": "none"},
                objective={"name": "relativistic", "r1": 0.02, "r2": 0.02},
            ),
        ),
    ),
)


def all_variants() -> tuple[Variant, ...]:
    """All variants, in the order of the table."""
    return tuple(variant for experiment in EXPERIMENTS for variant in experiment.variants)


def find(name: str) -> Variant:
    """Look up a variant by name. Raises MintError for an unknown name."""
    variants = {variant.name: variant for variant in all_variants()}
    if name not in variants:
        raise MintError(f"{name} is not a variant; {did_you_mean(name, variants, otherwise='see variants.py')}")
    return variants[name]
