"""Remedies: for each failure, changes of parameters that help.

First what is plainly out of proportion and explains the failure, then the mildest changes.

Sources: discriminator that dominates, one-sided label flips (Salimans et al. 2016), lower rates and R1 (Mescheder et
al. 2018); overfitting, DiffAugment (Zhao et al. 2020); oscillation, beta1 0 (Mescheder et al. 2018); collapse,
minibatch standard deviation (Karras et al. 2018), R1 and R2 (Huang et al. 2024).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from serving.inference.image_shape import Resolution

Values = dict[str, Any]  # by dotted key of params.yaml

SLOWER = 2.0  # by which a learning rate is divided
SAME_RATE = 2.0  # learning rates that differ by more are made equal first
GROSS = 8.0  # times by which rates or widths that differ explain a failure before it is certain
USUAL_RATE, USUAL_BETA1 = 1.0e-3, 0.5  # of Adam: those of the preset default; 0.5 is Radford's
LABELLED = ("saturating", "non-saturating", "least-squares", "hinge")
FLIPPED = 0.1  # share of real images labelled fake
CLIPPED = 10.0  # norm of a gradient
FEW_LATENTS, MANY_LATENTS = 8, 64  # numbers of a latent; few can hold only so much variety


def ladder(failure: str, params: Mapping[str, Any]) -> Iterator[tuple[str, Values]]:
    """Yield changes of params, the nested values of params.yaml, that help against a failure, the mildest first.

    Each has the name of its rung, which is to be taken once: the values of some depend on those of now.
    """
    rungs: dict[str, Sequence[Callable[[Mapping[str, Any]], Values | None]]] = {
        "discriminator dominates": (
            _equal_rates,
            _usual_rates,
            _flip_labels,
            _slower_discriminator,
            _augment,
            _penalise,
            _normalise,
        ),
        "generator dominates": (_equal_rates, _wider_discriminator, _slower_generator),
        "mode collapse": (_equal_rates, _larger_latent, _usual_rates, _slower, _augment, _penalise, _compare_images),
        "partial collapse": (_equal_rates, _larger_latent, _wider_discriminator, _augment, _penalise, _compare_images),
        "discriminator overfits": (_augment, _slower_discriminator, _penalise),
        "memorising": (_augment, _mirror),
        "oscillation": (_equal_rates, _usual_rates, _no_momentum, _slower, _longer_average),
        "explosion": (_nothing, _equal_rates, _usual_rates, _slower, _clip),
        "plateau": (_slower, _longer_average),
        "labels do not match": (_no_classes,),
    }
    for rung in rungs.get(failure, ()):
        if (values := rung(params)) is not None:
            yield rung.__name__.strip("_").replace("_", " "), values


def early_ladder(failure: str, params: Mapping[str, Any]) -> Iterator[tuple[str, Values]]:
    """The rungs of `ladder` for what is so far out of proportion that a suspicion is enough to change it."""
    train, network = params["train"], params["network"]
    low, high = sorted((train["generator_lr"], train["discriminator_lr"]))
    gross = {
        "equal rates": high >= GROSS * low,
        "larger latent": True,
        "wider discriminator": network["generator_width"] >= GROSS * network["discriminator_width"],
    }
    return ((rung, values) for rung, values in ladder(failure, params) if gross.get(rung))


def _nothing(params: Mapping[str, Any]) -> Values | None:
    """Only the way back to a checkpoint: training goes on with other batches, which may be enough."""
    return {}


def _usual_rates(params: Mapping[str, Any]) -> Values | None:
    """Learning rates and momentum of Adam, where they are far above what GANs are trained with."""
    train = params["train"]
    values = {}
    for network in ("generator", "discriminator"):
        if train[f"{network}_optimizer"] == "adam" and train[f"{network}_lr"] > SAME_RATE * USUAL_RATE:
            values[f"train.{network}_lr"] = USUAL_RATE
    if values and train["beta1"] > USUAL_BETA1:
        values["train.beta1"] = USUAL_BETA1
    return values or None


def _equal_rates(params: Mapping[str, Any]) -> Values | None:
    """The larger of two very different learning rates made as small as the other."""
    train = params["train"]
    rates = {name: train[name] for name in ("generator_lr", "discriminator_lr")}
    high, low = max(rates, key=lambda name: rates[name]), min(rates.values())
    if rates[high] > SAME_RATE * low:
        return {f"train.{high}": low}
    return None


def _slower(params: Mapping[str, Any]) -> Values | None:
    return {f"train.{name}": params["train"][name] / SLOWER for name in ("generator_lr", "discriminator_lr")}


def _slower_discriminator(params: Mapping[str, Any]) -> Values | None:
    return {"train.discriminator_lr": params["train"]["discriminator_lr"] / SLOWER}


def _slower_generator(params: Mapping[str, Any]) -> Values | None:
    return {"train.generator_lr": params["train"]["generator_lr"] / SLOWER}


def _flip_labels(params: Mapping[str, Any]) -> Values | None:
    if params["objective"]["name"] in LABELLED and params["stabilise"]["label_flip"] < FLIPPED:
        return {"stabilise.label_flip": FLIPPED}
    return None


def _augment(params: Mapping[str, Any]) -> Values | None:
    if params["stabilise"]["augment"] == "none":
        return {"stabilise.augment": "diffaugment"}
    return None


def _mirror(params: Mapping[str, Any]) -> Values | None:
    if not params["train"]["horizontal_flip"]:
        return {"train.horizontal_flip": 0.5}
    return None


def _penalise(params: Mapping[str, Any]) -> Values | None:
    """R1 and R2, which batch norm in the discriminator rules out, doubled where they are there."""
    objective = params["objective"]
    if params["network"]["discriminator_norm"] == "none" and params["network"]["name"] != "projected":
        pixels = Resolution.parse(params["data"]["resolution"]).pixels
        start = 0.0002 * pixels / params["train"]["batch"]  # Karras et al. 2020, section 4
        return {f"objective.{name}": max(2 * objective[name], start) for name in ("r1", "r2")}
    return None


def _larger_latent(params: Mapping[str, Any]) -> Values | None:
    if params["network"]["latent_dim"] < FEW_LATENTS:
        return {"network.latent_dim": MANY_LATENTS}
    return None


def _wider_discriminator(params: Mapping[str, Any]) -> Values | None:
    network = params["network"]
    if network["discriminator_width"] < network["generator_width"] and network["name"] != "projected":
        return {"network.discriminator_width": network["generator_width"]}
    return None


def _compare_images(params: Mapping[str, Any]) -> Values | None:
    if not params["network"]["minibatch_std"] and params["network"]["name"] != "projected":
        return {"network.minibatch_std": True}
    return None


def _no_classes(params: Mapping[str, Any]) -> Values | None:
    if params["network"]["condition"] != "none":
        return {"network.condition": "none"}
    return None


def _normalise(params: Mapping[str, Any]) -> Values | None:
    network = params["network"]
    if network["discriminator_norm"] == "none" and not network["spectral_norm"]:
        return {"network.spectral_norm": True}
    return None


def _no_momentum(params: Mapping[str, Any]) -> Values | None:
    if params["train"]["beta1"] > 0:
        return {"train.beta1": 0.0}
    return None


def _longer_average(params: Mapping[str, Any]) -> Values | None:
    if params["train"]["ema_half_life_kimg"]:
        return {"train.ema_half_life_kimg": 2 * params["train"]["ema_half_life_kimg"]}
    return None


def _clip(params: Mapping[str, Any]) -> Values | None:
    if params["stabilise"]["gradient_clip"] is None:
        return {"stabilise.gradient_clip": CLIPPED}
    return None
