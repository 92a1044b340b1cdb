"""Exponential moving average (EMA) of the generator's weights, which is what is exported and served."""

import torch
from torch import nn

RAMP_UP = 0.05  # the half-life is at most this share of the images seen (Karras et al. 2020, StyleGAN2-ADA)


def ema_decay(batch: int, half_life_kimg: float, images_seen: int) -> float:
    """Decay of the EMA for one step: 0.5 ** (batch / half-life in images).

    The half-life grows with the images seen until it reaches `half_life_kimg`, so that the first, poor
    weights are soon forgotten. Returns 0, no averaging, when `half_life_kimg` is 0.
    """
    half_life = min(half_life_kimg * 1000, images_seen * RAMP_UP)
    return 0.5 ** (batch / half_life) if half_life else 0.0


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * network, for parameters; buffers are copied."""
    ema_parameters: list[torch.Tensor] = list(ema.parameters())
    parameters: list[torch.Tensor] = list(network.parameters())
    torch._foreach_lerp_(ema_parameters, parameters, 1 - decay)
    for ema_buffer, buffer in zip(ema.buffers(), network.buffers(), strict=True):
        ema_buffer.copy_(buffer)
