"""What is compared with what: every experiment of the sources with its variants, in one table.

A variant is a preset with a few values changed. At full scale it runs at the size that its source used; at small
scale the same recipe runs with fewer images, narrower networks and fewer epochs, so that all of them take an hour
on two cores. Rates are then a few times the source's, because so short a run has few steps to take.
"""

from dataclasses import dataclass, field

from benchmarks.experiments.settings import ROOT, Scale
from serving.error_messages import did_you_mean
from serving.errors import MintError
from training.params import Params, read_params, validate_params
from training.presets import ParamDict, deep_merge, load_preset

SEED_STRIDE = 100_000  # each epoch is drawn from seed + epoch: so far apart, no two runs share one


@dataclass(frozen=True)
class Size:
    """How large one run is."""

    images: int | None  # to train on; None for all that there are
    epochs: int
    values: ParamDict = field(default_factory=dict)  # what the scale changes in the recipe
    rate_factor: float = 1.0
    evaluated: int = 256  # generated images that are measured
    classifier_epochs: int = 3
    pool: int | None = None  # pictures to take all this from; None for all of the source


@dataclass(frozen=True)
class Variant:
    """One recipe at two sizes."""

    name: str
    label: str  # in tables
    preset: str
    changes: ParamDict
    small: Size
    full: Size
    times_source: bool = False  # whether a small run also times a step of the source's own network

    def size(self, scale: Scale) -> Size:
        """The size at a scale."""
        return self.small if scale == "small" else self.full

    def params(self, size: Size, seed: int) -> Params:
        """All parameters of one run. Raises ParamsError where they do not go together."""
        values = read_params(ROOT / "params.yaml")
        # The change comes last: it is what the variant is about.
        for above in (load_preset(self.preset).values, size.values, self.changes):
            values = deep_merge(values, above)
        train = values["train"]
        for rate in ("generator_lr", "discriminator_lr"):
            train[rate] *= size.rate_factor
        train |= {"length": f"{size.epochs} epochs", "seed": seed * SEED_STRIDE}
        values["data"]["limit"] = size.images
        return validate_params(values, f"variant {self.name}")


@dataclass(frozen=True)
class Experiment:
    """Variants that answer one question."""

    name: str
    title: str
    question: str
    source: str  # what the source ran and found
    differs: str  # what is done otherwise at small scale, beside sizes and rates
    columns: tuple[str, ...]  # of its table: keys of `summary.COLUMNS`
    reading: tuple[str, ...]  # those of them in which `readings` names a leader
    variants: tuple[Variant, ...]


def _latent(dim: int, short: bool) -> Variant:
    """A latent of so many numbers, with the many or the few images of the source."""
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
    "train": {"batch": 16, "horizontal_flip": 0.0},  # the shoes of the clothes all point to the left
}


def _faces(name: str, label: str, preset: str = "anime-dcgan", **changes: ParamDict) -> Variant:
    """A recipe of the anime faces; at small scale at 28 px, on the clothes."""
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
    """RGB pictures; at small scale with DCGAN, as the pictures' own network is too dear to learn anything at 64 px."""
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
        small=Size(images, 21_000 // images, narrow, rate_factor=5.0),  # as many images seen, whatever there are
        full=Size(images, 250, evaluated=500),
        times_source=True,
    )


def _remedy(name: str, label: str, **changes: ParamDict) -> Variant:
    """A DCGAN that goes wrong: as the sources have it at full scale, with too long a memory of gradients at small."""
    shaky = deep_merge(NARROW_DCGAN, {"train": {"beta1": 0.9}, "stabilise": {"instance_noise_kimg": 15}})
    return Variant(
        f"collapse-{name}",
        label,
        "anime-dcgan",
        dict(changes),
        small=Size(500, 50, shaky, rate_factor=5.0),
        full=Size(None, 50, {"stabilise": {"instance_noise_kimg": 250}}, evaluated=1000),
    )


SPECTRAL: ParamDict = {"spectral_norm": True, "discriminator_norm": "none"}
QUALITY = ("kid", "precision", "recall", "diversity", "coverage")

EXPERIMENTS = (
    Experiment(
        name="latent",
        title="Latent size",
        question="What can 1, 10, 50 or 100 numbers behind an image express?",
        source="3,500 images for 250 epochs and 500 images for 50 epochs of RGB flowers. Latent 10 went sideways after "
        "epoch 80, latent 50 was better, and latent 1 can only morph along a curve, which alone is no collapse.",
        differs="The clothes in grey instead of flowers in RGB.",
        columns=(*QUALITY, "step_ms"),
        reading=("kid", "recall", "diversity"),
        variants=tuple(_latent(dim, short) for short in (False, True) for dim in (1, 10, 50, 100)),
    ),
    Experiment(
        name="critics",
        title="DCGAN, WGAN and WGAN-GP",
        question="How do clipped weights, the weight of the gradient penalty and the critic's steps change the share "
        "of good samples?",
        source="33,431 anime faces of 64 px for 50 epochs; lambda 0.5, 5 and 10; 1, 2 and 4 critic steps. The yield is "
        "the share of samples that a person would keep; here it is precision (Kynkaanniemi et al. 2019).",
        differs="Clothes of 28 px instead of faces of 64 px, which cannot be embedded here, and no mirroring. Every "
        "variant sees the same number of real images, so more critic steps are fewer steps of the generator.",
        columns=("precision", "kid", "recall", "coverage", "steps", "step_ms"),
        reading=("precision", "kid"),
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
        source="28 px digits; sheets at epochs 1, 10, 50 and 100. The vanilla GAN was faster and grainier; a DCGAN of "
        "one source ended with only 3, 5 and 8.",
        differs="The embedded clothes, which have the digits' size, depth and number of classes. The vanilla "
        "GAN keeps the source's width, since it is cheap.",
        columns=(*QUALITY, "images_per_second", "sampled_per_second"),
        reading=("kid", "coverage", "images_per_second", "sampled_per_second"),
        variants=(
            _digits("digits-gan", "vanilla GAN (dense)", {}),
            _digits("digits-dcgan", "DCGAN", {"network": {"generator_width": 16, "discriminator_width": 16}}),
        ),
    ),
    Experiment(
        name="colour",
        title="RGB at 28 px against 64 px",
        question="What does a larger side cost, and how soon are samples recognisable with 1,000 and 3,000 images?",
        source="RGB flowers with the network of upsampling and convolutions, 250 epochs.",
        differs="A narrow DCGAN learns in the place of the source's network, whose cost is timed beside it on "
        "noise, at its own widths. The 64 px pictures are enlarged from 28 px unless rgb_source is set, so they "
        "cost what 64 px cost and show no more detail.",
        columns=(
            "recognisable",
            "seen_until_recognisable",
            "kid",
            "precision",
            "coverage",
            "step_ms",
            "source_image_ms",
        ),
        reading=("seen_until_recognisable", "kid"),
        variants=tuple(_colour(side, images) for side in (28, 64) for images in (1000, 3000)),
    ),
    Experiment(
        name="rotation",
        title="Aligned against rotated images",
        question="What does it cost a GAN that its images are not aligned?",
        source="Anime faces, aligned and turned by up to 30 degrees.",
        differs="Clothes of 28 px instead of faces of 64 px. Corners are filled by reflection, since black ones would "
        "be learned. Both are compared with aligned real images.",
        columns=QUALITY,
        reading=("kid", "precision", "recall", "diversity"),
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
        differs="The source's million images do not fit into half a minute, and its plain recipe holds in so short a "
        "run. So all variants but the first take Adam's own beta1 of 0.9 instead of 0.5, of which Radford et al. "
        "2015 say that it makes training oscillate and unstable.",
        columns=("collapsed", "coverage_at_35", "diversity_at_35", "kid", "precision", "recall", "coverage"),
        reading=("kid", "recall", "coverage"),
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
    """Every variant, in the order of the table."""
    return tuple(variant for experiment in EXPERIMENTS for variant in experiment.variants)


def find(name: str) -> Variant:
    """The variant of that name. Raises MintError where there is none."""
    variants = {variant.name: variant for variant in all_variants()}
    if name not in variants:
        raise MintError(f"{name} is not a variant; {did_you_mean(name, variants, otherwise='see variants.py')}")
    return variants[name]
