"""The generator's exponential moving average: the weights that are exported and served."""

import torch
from torch import nn

RAMP_UP = 0.05  # share of the images seen so far that bounds the half-life (Karras et al. 2020, StyleGAN2-ADA)


def ema_decay(batch: int, half_life_kimg: float, images_seen: int) -> float:
    """How much of the average one step keeps: 0.5 ** (batch / half-life in images).

    The half-life grows with the images seen until it reaches `half_life_kimg`, so that the first, poor
    weights are soon forgotten. Returns 0, no averaging, when `half_life_kimg` is 0.
    """
    half_life = min(half_life_kimg * 1000, images_seen * RAMP_UP)
    return 0.5 ** (batch / half_life) if half_life else 0.0


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * network, for weights; buffers are copied."""
    averaged: list[torch.Tensor] = list(average.parameters())
    current: list[torch.Tensor] = list(network.parameters())
    torch._foreach_lerp_(averaged, current, 1 - decay)
    for kept, latest in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(latest)
