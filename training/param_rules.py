"""Cross-field rules of params.yaml: combinations of valid values that cannot work, each as a sentence with a remedy."""

from collections.abc import Iterator

from serving.inference.image_shape import Resolution
from training.param_sections import (
    DataParams,
    EvaluateParams,
    NetworkParams,
    ObjectiveParams,
    StabiliserParams,
    TrainParams,
)
from training.pyramid import pyramid

LABELLED_OBJECTIVES = ("saturating", "non-saturating", "least-squares", "hinge")  # each image is labelled real or fake
GROUP_CHANNELS = 16  # channels per group in the residual network's 3x3 convolutions (Huang et al. 2024)
PROJECTED_FEATURES = "efficientnet-lite0"  # of the frozen network in the discriminator of `projected`
LARGE_SIDE = 512  # pixels
LARGE_NETWORKS = ("dcgan", "residual", "projected")  # those for images of LARGE_SIDE


def find_conflicts(
    data: DataParams,
    network: NetworkParams,
    objective: ObjectiveParams,
    stabilise: StabiliserParams,
    train: TrainParams,
    evaluate: EvaluateParams,
) -> Iterator[str]:
    """Yield one sentence for each conflict, the most fundamental first."""
    yield from _network_conflicts(network, data.resolution)
    if network.name == "projected":
        yield from _projected_conflicts(network, objective, stabilise, train, evaluate)
    elif objective.energy_distance:
        yield (
            f"objective.energy_distance compares frozen features, and a {network.name} discriminator has none; "
            "set it to 0, or network.name to projected"
        )
    yield from _objective_conflicts(objective, network)
    yield from _stabiliser_conflicts(stabilise, objective, network, train.batch)
    if train.freeze_discriminator and train.start_from == "none":
        yield (
            "train.freeze_discriminator keeps layers that train.start_from takes from an earlier run, and it is none; "
            "set it to auto or to a file, or freeze_discriminator to 0"
        )
    if data.limit is not None and train.batch > data.limit:
        yield f"train.batch {train.batch} is larger than data.limit {data.limit}; lower train.batch"


def _network_conflicts(network: NetworkParams, resolution: Resolution) -> Iterator[str]:
    if max(resolution) >= LARGE_SIDE and network.name not in LARGE_NETWORKS:
        yield (
            f"data.resolution {resolution} is for {', '.join(LARGE_NETWORKS)}; a {network.name} network has layers "
            "that are too large for it: set network.name to one of them, or data.resolution to 256 or less"
        )
    if (network.kernel is None) == (network.name == "dcgan"):
        wanted = "4 or 5" if network.kernel is None else "null"
        yield f"network.kernel is {network.kernel or 'null'} and network.name is {network.name}; set kernel to {wanted}"
    if network.depth is not None and network.name not in ("dense", "residual"):
        yield f"network.depth is for dense and residual; {network.name} is as deep as its resolution: set it to null"
    if network.discriminator_norm != "none" and network.name != "dcgan":
        yield f"network.discriminator_norm is for dcgan; a {network.name} discriminator has no norm: set it to none"
    if network.spectral_norm and network.name == "residual":
        yield "network.spectral_norm divides by a weight's size, and residual blocks start at zero; set it to false"
    for prefix in ("generator", "discriminator"):
        width = getattr(network, f"{prefix}_width")
        if network.name == "residual" and network.widths is None and width % (GROUP_CHANNELS // 2):
            yield f"network.{prefix}_width is {width}; a residual network takes multiples of {GROUP_CHANNELS // 2}"
    if network.widths is not None:
        yield from _width_conflicts(network.widths, network.name, resolution)


def _width_conflicts(widths: tuple[int, ...], name: str, resolution: Resolution) -> Iterator[str]:
    if name != "residual":
        yield f"network.widths is for residual; the layers of {name} follow from its two widths: set it to null"
        return
    smallest, doublings = pyramid(resolution)
    sizes = [Resolution(*(side * 2**level for side in smallest)) for level in range(doublings + 1)]
    if len(widths) != len(sizes):
        yield (
            f"network.widths has {len(widths)} numbers and {resolution} px has {len(sizes)} resolutions "
            f"({', '.join(map(str, sizes))}); give one number each"
        )
    for width in widths:
        if width % (GROUP_CHANNELS // 2):
            yield f"network.widths holds {width}; a residual network takes multiples of {GROUP_CHANNELS // 2}"


def _projected_conflicts(
    network: NetworkParams,
    objective: ObjectiveParams,
    stabilise: StabiliserParams,
    train: TrainParams,
    evaluate: EvaluateParams,
) -> Iterator[str]:
    frozen = f"the discriminator of projected looks through {PROJECTED_FEATURES}, a frozen network"
    if evaluate.extractor == PROJECTED_FEATURES:
        yield (
            f"evaluate.extractor is {PROJECTED_FEATURES} and {frozen} that the generator learns to please; "
            "set evaluate.extractor to mobilenet-v2"
        )
    if stabilise.packing > 1:
        yield f"stabilise.packing joins images along their channels, and {frozen} of single images; set it to 1"
    for name in ("gradient_penalty", "r1", "r2"):
        if getattr(objective, name):
            yield f"objective.{name} bounds a gradient that spectral norm bounds already in projected; set it to 0"
    if stabilise.replay:
        yield "stabilise.replay keeps images, and projected computes the features of a batch once; set it to 0"
    for name in ("generator_steps", "discriminator_steps"):
        if getattr(train, name) > 1:
            yield f"train.{name} is above 1, and both steps of projected share the features of one batch; set it to 1"
    if objective.weight_clip:
        yield "objective.weight_clip bounds weights that spectral norm bounds already in projected; set it to null"
    if network.condition == "auxiliary":
        yield "network.condition is auxiliary, and the heads of projected do not classify; set it to projection"
    for name, off in (("spectral_norm", "false"), ("minibatch_std", "false"), ("discriminator_dropout", "0")):
        if getattr(network, name):
            yield f"network.{name} is not for projected, whose heads have spectral norm alone; set it to {off}"


def _objective_conflicts(objective: ObjectiveParams, network: NetworkParams) -> Iterator[str]:
    penalties = [name for name in ("gradient_penalty", "r1", "r2") if getattr(objective, name)]
    if penalties and network.discriminator_norm != "none":
        yield (
            f"objective.{penalties[0]} is taken image by image, and batch norm lets the images of a batch see one "
            "another (Gulrajani et al. 2017, section 4); set network.discriminator_norm to none"
        )
    if penalties and network.minibatch_std:
        yield (
            f"objective.{penalties[0]} is taken image by image, and the minibatch standard deviation lets the images "
            "of a batch see one another; set network.minibatch_std to false"
        )
    if objective.weight_clip and objective.name != "wasserstein":
        yield (
            f"objective.weight_clip bounds the critic of wasserstein and would only cripple the discriminator of "
            f"{objective.name}; set it to null"
        )
    if objective.weight_clip and (objective.gradient_penalty or network.spectral_norm):
        other = "objective.gradient_penalty" if objective.gradient_penalty else "network.spectral_norm"
        yield f"objective.weight_clip and {other} bound the critic twice; keep one of them"
    bounded = objective.weight_clip or penalties or network.spectral_norm or network.name == "projected"
    if objective.name == "wasserstein" and not bounded:
        yield (
            "objective wasserstein needs a bound on its critic, whose scores grow for ever otherwise; "
            "set objective.gradient_penalty to 10 or objective.weight_clip to 0.01"
        )
    if objective.mismatched and objective.name not in LABELLED_OBJECTIVES:
        yield (
            f"objective.mismatched calls real images with a wrong class fake, and {objective.name} calls nothing fake; "
            "set it to false, or objective.name to non-saturating"
        )
    if objective.mismatched and network.condition != "projection":
        yield "objective.mismatched shows the discriminator wrong classes; set network.condition to projection"


def _stabiliser_conflicts(
    stabilise: StabiliserParams, objective: ObjectiveParams, network: NetworkParams, batch: int
) -> Iterator[str]:
    for name in ("label_flip", "label_smoothing", "label_noise"):
        if getattr(stabilise, name) and objective.name not in LABELLED_OBJECTIVES:
            yield f"stabilise.{name} changes the labels real and fake, and {objective.name} has none; set it to 0"
    if stabilise.augment == "ada" and objective.name not in LABELLED_OBJECTIVES:
        yield (
            f"ada steers by the sign of D(real), which says nothing under {objective.name}; "
            "set stabilise.augment to diffaugment"
        )
    if stabilise.instance_noise and not stabilise.instance_noise_kimg:
        yield "stabilise.instance_noise has to fade out; set stabilise.instance_noise_kimg to when it is gone"
    if stabilise.packing > 1 and network.condition != "none":
        yield (
            "stabilise.packing joins images of different classes into one; "
            "set network.condition to none, or stabilise.packing to 1"
        )
    if batch % stabilise.packing:
        yield f"train.batch {batch} is no multiple of stabilise.packing {stabilise.packing}; change one"
