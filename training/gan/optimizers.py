"""The players' optimisers, and how rates, memory and penalties change over the burn-in."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import nn
from torch.optim import SGD, Adam, Optimizer, RMSprop

from training.gan.stabilisers import cosine
from training.param_sections import TrainParams


def make_optimizer(name: str, parameters: Iterable[nn.Parameter], rate: float, beta1: float, beta2: float) -> Optimizer:
    """adam (Kingma and Ba 2015) with both betas, rmsprop with beta2 as its memory, sgd with beta1 as its momentum."""
    if name == "rmsprop":
        return RMSprop(parameters, lr=rate, alpha=beta2, foreach=True)
    if name == "sgd":
        return SGD(parameters, lr=rate, momentum=beta1, fused=True)
    return Adam(parameters, lr=rate, betas=(beta1, beta2), fused=True)


class ScheduleValues(NamedTuple):
    """How strongly things are done at one moment of a run."""

    rate: float  # factor of both learning rates
    penalty: float  # factor of R1 and R2
    beta2: float


def schedule_values(train: TrainParams, images_seen: int) -> ScheduleValues:
    """Goes from burn_in's values to the plain ones along a cosine (Huang et al. 2024, appendix D)."""
    burn_in = train.burn_in
    if not burn_in.kimg:
        return ScheduleValues(1.0, 1.0, train.beta2)
    share = images_seen / (burn_in.kimg * 1000)
    return ScheduleValues(
        rate=cosine(burn_in.rate_factor, 1.0, share),
        penalty=cosine(burn_in.penalty_factor, 1.0, share),
        beta2=cosine(burn_in.beta2, train.beta2, share),
    )


def apply_schedule(optimizer: Optimizer, rate: float, beta2: float) -> None:
    """Changes an optimiser's learning rate and, where it has one, its longer memory."""
    for group in optimizer.param_groups:
        group["lr"] = rate
        if "betas" in group:
            group["betas"] = (group["betas"][0], beta2)
        elif "alpha" in group:
            group["alpha"] = beta2
