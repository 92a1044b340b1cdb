"""Exponential moving average (EMA) of the generator's weights, which is what is exported and served."""

import torch
from torch import Tensor, nn

STANDING_IMAGES = 1024  # fakes that the standing statistics are taken over
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


@torch.no_grad()
def set_standing_statistics(
    ema: nn.Module, latent_dim: int, labels: Tensor, batch: int, images: int = STANDING_IMAGES
) -> None:
    """Replace the statistics of the EMA's batch norms by those of its own activations.

    Those that it has are the trained network's, whose weights are not averaged. "Standing statistics" of Brock et al.
    2019. labels: int64 [N] of the training data, which the fakes' classes are drawn from; batch: fakes at a
    time, as in training; images: fakes in all. The random numbers are always the same. Other layers stay in evaluation
    mode.
    """
    norms = [module for module in ema.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    random = torch.Generator().manual_seed(0)
    for _ in range(max(1, images // batch)):
        z = torch.randn(batch, latent_dim, generator=random)
        drawn = labels[torch.randint(len(labels), (batch,), generator=random).to(labels.device)]
        ema(z.to(labels.device), drawn)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
