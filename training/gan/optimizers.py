"""Optimisers and schedules: learning rates, beta2 and penalties change along a cosine during the burn-in."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from torch import nn
from torch.optim import SGD, Adam, Optimizer, RMSprop

from training.param_sections import TrainParams


def make_optimizer(name: str, parameters: Iterable[nn.Parameter], lr: float, beta1: float, beta2: float) -> Optimizer:
    """Build adam (Kingma and Ba 2015) with both betas, rmsprop with alpha = beta2, sgd with momentum = beta1."""
    if name == "rmsprop":
        return RMSprop(parameters, lr=lr, alpha=beta2, foreach=True)
    if name == "sgd":
        return SGD(parameters, lr=lr, momentum=beta1, fused=True)
    return Adam(parameters, lr=lr, betas=(beta1, beta2), fused=True)


class ScheduleValues(NamedTuple):
    """Schedule values at one step."""

    lr_factor: float  # of both learning rates
    penalty_factor: float  # of R1 and R2
    beta2: float


def schedule_values(train: TrainParams, images_seen: int) -> ScheduleValues:
    """Schedule values after `images_seen` images: from burn_in's to the final ones (Huang et al. 2024, appendix D)."""
    burn_in = train.burn_in
    if not burn_in.kimg:
        return ScheduleValues(1.0, 1.0, train.beta2)
    progress = images_seen / (burn_in.kimg * 1000)
    return ScheduleValues(
        lr_factor=cosine_schedule(burn_in.rate_factor, 1.0, progress),
        penalty_factor=cosine_schedule(burn_in.penalty_factor, 1.0, progress),
        beta2=cosine_schedule(burn_in.beta2, train.beta2, progress),
    )


def cosine_schedule(start: float, end: float, progress: float) -> float:
    """Value between start and end along half a cosine. progress: 0..1; stays at `end` above 1."""
    return end + (start - end) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def apply_schedule(optimizer: Optimizer, lr: float, beta1: float, beta2: float) -> None:
    """Set an optimiser's learning rate and, where it has them, the decays of its moments, as in `make_optimizer`."""
    for group in optimizer.param_groups:
        group["lr"] = lr
        if "betas" in group:
            group["betas"] = (beta1, beta2)
        elif "alpha" in group:
            group["alpha"] = beta2
        elif "momentum" in group:
            group["momentum"] = beta1
