"""Gradient penalties on the discriminator: pure functions, differentiable with respect to its weights.

They need second derivatives, so the discriminator must run eagerly: gradients taken through a compiled network
silently lose their graph.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def r1_r2_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """|grad D(x)|^2 / 2, averaged over the batch: R1 at real images, R2 at fakes (Mescheder et al. 2018, eq. 9 and 10).

    logits: [N], or one for each pack of images; computed from images [N, C, H, W], which require a gradient.
    """
    return pixel_gradient(logits, images).square().sum(dim=1).mean() / 2


def wgan_gp_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """WGAN-GP: (|grad D(x)| - 1)^2 at random points between real images and fakes (Gulrajani et al. 2017, eq. 3).

    critic: images [N, C, H, W] -> logits [N], or one for each pack of images; real, fake: [N, C, H, W].
    """
    weight = torch.rand(len(real), 1, 1, 1, device=real.device)
    interpolated = torch.lerp(real, fake, weight).requires_grad_()
    norm = pixel_gradient(critic(interpolated), interpolated).square().sum(dim=1).add(1e-12).sqrt()
    return (norm - 1).square().mean()


def pixel_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """Gradient of each logit with respect to its own pixels, [logits, pixels], itself differentiable.

    The images of a pack are neighbours in the batch, so their gradients form one row.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.reshape(len(logits), -1)
