"""CHAIN, a normalisation for the discriminator when images are few (Ni and Koniusz 2024).

Batch norm centres and scales, and both make gradients large. CHAIN does not centre: it penalises the squared means of
the channels instead. It divides each channel by its root mean square and multiplies all of them by the smallest, so
that no channel is amplified. The result is mixed with the features as they were, by a share p that grows while the
discriminator is too sure of real images (their section 3; with p as a plain share where they also try random masks).
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

STEP = 0.001  # by which p changes after each step of the discriminator
TARGET = 0.5  # of the mean sign of the logits of real images
WEIGHT = 20.0  # of the penalty on the channels' means, with p
EPSILON = 1e-5


class ChainNorm(nn.Module):
    """Features [N, C, H, W] -> the same shape, normalised over the batch; in evaluation mode too."""

    p: Tensor
    mean_penalty: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("p", torch.zeros(()))
        self.mean_penalty = None  # of the last forward pass, until `pop_mean_penalty`

    def forward(self, x: Tensor) -> Tensor:
        size = (x.float().square().mean((0, 2, 3), keepdim=True) + EPSILON).sqrt()
        if self.training and torch.is_grad_enabled():
            self.mean_penalty = WEIGHT * self.p * x.float().mean((0, 2, 3)).square().mean()
        scaled: Tensor = x * (size.min() / size).to(x.dtype)
        return x + self.p.to(x.dtype) * (scaled - x)


def chain_norms(network: nn.Module) -> Iterator[ChainNorm]:
    """The CHAIN layers of a network."""
    return (module for module in network.modules() if isinstance(module, ChainNorm))


def pop_mean_penalty(network: nn.Module) -> Tensor | None:
    """Penalty on the means of the channels in the last forward pass, summed over the layers; None without CHAIN."""
    total = None
    for norm in chain_norms(network):
        if norm.mean_penalty is not None:
            total = norm.mean_penalty if total is None else total + norm.mean_penalty
        norm.mean_penalty = None
    return total


@torch.no_grad()
def adapt(network: nn.Module, real_logits: Tensor) -> None:
    """Raise p where the discriminator is sure of more real images than TARGET, otherwise lower it. real_logits: [N]."""
    change = STEP * (real_logits.sign().mean() - TARGET).sign()
    for norm in chain_norms(network):
        norm.p.add_(change).clamp_(0, 1)
