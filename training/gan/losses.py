"""GAN losses: pure functions of raw logits, without a sigmoid before them.

An objective defines the loss of a single logit: for the discriminator under the label real or fake, and for the
generator. `discriminator_loss` and `generator_loss` average it over a batch. WGAN-GP is the objective `wasserstein`
with the penalty in penalties.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, relu, softplus


@dataclass(frozen=True)
class Objective:
    """Per-logit losses, each a function [N] -> [N]."""

    d_real: Callable[[Tensor], Tensor]  # the discriminator's, for an image labelled real
    d_fake: Callable[[Tensor], Tensor]  # the discriminator's, for an image labelled fake
    g_fake: Callable[[Tensor], Tensor]  # the generator's, for a fake
    paired: bool = False  # True: logits are differences between a real image's and a fake's


def minus_log_d(logits: Tensor) -> Tensor:
    """-log D(x) in nats with D = sigmoid(logit): softplus(-logit), which neither overflows nor saturates."""
    return softplus(-logits)


def minus_log_one_minus_d(logits: Tensor) -> Tensor:
    """-log(1 - D(x)) in nats."""
    return softplus(logits)


def log_one_minus_d(logits: Tensor) -> Tensor:
    """log(1 - D(x)) in nats, the generator's minimax loss; its gradient vanishes where D is sure of a fake."""
    return -softplus(logits)


def half_square_to_one(logits: Tensor) -> Tensor:
    """(D(x) - 1)^2 / 2."""
    return (logits - 1).square() / 2


def half_square(logits: Tensor) -> Tensor:
    """D(x)^2 / 2."""
    return logits.square() / 2


def hinge_real(logits: Tensor) -> Tensor:
    """max(0, 1 - D(x)): zero for logits above 1."""
    return relu(1 - logits)


def hinge_fake(logits: Tensor) -> Tensor:
    """max(0, 1 + D(x)): zero for logits below -1."""
    return relu(1 + logits)


def score(logits: Tensor) -> Tensor:
    """D(x), which a critic minimises for fakes."""
    return logits


def minus_score(logits: Tensor) -> Tensor:
    """-D(x), which a critic minimises for real images and a generator for its fakes."""
    return -logits


OBJECTIVES = {
    # Goodfellow et al. 2014, eq. 1, and its section 3 for the non-saturating form.
    "saturating": Objective(minus_log_d, minus_log_one_minus_d, log_one_minus_d),
    "non-saturating": Objective(minus_log_d, minus_log_one_minus_d, minus_log_d),
    # Mao et al. 2017, eq. 9.
    "least-squares": Objective(half_square_to_one, half_square, half_square_to_one),
    # Lim and Ye 2017; Miyato et al. 2018, eq. 16 and 17.
    "hinge": Objective(hinge_real, hinge_fake, minus_score),
    # Arjovsky et al. 2017, eq. 2.
    "wasserstein": Objective(minus_score, score, minus_score),
    # Jolicoeur-Martineau 2018: a real image should score above the fake that it is paired with.
    "relativistic": Objective(minus_log_d, minus_log_one_minus_d, minus_log_d, paired=True),
}


@dataclass(frozen=True)
class Targets:
    """Soft labels, 1 real and 0 fake: [N] for real images and [M] for fakes."""

    real: Tensor
    fake: Tensor


def discriminator_loss(
    objective: Objective, real_logits: Tensor, fake_logits: Tensor, targets: Targets | None = None
) -> Tensor:
    """Mean discriminator loss of real images, logits [N], plus that of fakes, logits [M]; pairs need M = N.

    targets: None labels every real image 1 and every fake 0; a label between them interpolates both losses.
    """
    if objective.paired:
        return objective.d_real(real_logits - fake_logits).mean()
    if targets is None:
        return objective.d_real(real_logits).mean() + objective.d_fake(fake_logits).mean()
    real_loss = _soft_label_loss(objective, real_logits, targets.real)
    return real_loss + _soft_label_loss(objective, fake_logits, targets.fake)


def generator_loss(objective: Objective, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """Mean generator loss of its fakes, logits [N]; real_logits [N] where the objective pairs them."""
    if objective.paired:
        if real_logits is None:
            raise ValueError("a paired objective needs the logits of real images")
        return objective.g_fake(fake_logits - real_logits).mean()
    return objective.g_fake(fake_logits).mean()


def auxiliary_loss(tag_logits: Tensor, tags: Tensor, exclusive_tags: bool) -> Tensor:
    """Classification loss of the auxiliary classifier, in nats (Odena et al. 2017, eq. 3).

    tag_logits: [N, tags]; tags: float [N, tags], 1 where the image has the tag. exclusive_tags: every class of the
    data has one tag, which makes this a cross-entropy; otherwise it is a sum of binary cross-entropies, one per tag.
    """
    if exclusive_tags:
        return cross_entropy(tag_logits, tags)
    return binary_cross_entropy_with_logits(tag_logits, tags, reduction="none").sum(dim=1).mean()


def energy_distance(real: Tensor, fake: Tensor) -> Tensor:
    """Energy distance between the distributions that two samples come from (Szekely and Rizzo 2013, eq. 2).

    2 E|x - y| - E|x - x'| - E|y - y'|, unbiased; 0 for equal distributions. The last term drives fakes apart, which
    the loss of a discriminator that judges them one by one does not. real: [N, D]; fake: [M, D], at least 2 each.
    """
    return 2 * _distances(real, fake).mean() - _mean_distance_of_pairs(real) - _mean_distance_of_pairs(fake)


def _mean_distance_of_pairs(x: Tensor) -> Tensor:
    """Mean Euclidean distance of different rows; those of rows with themselves, and their gradients, are 0."""
    return _distances(x, x).sum() / (len(x) * (len(x) - 1))


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances [N, M] of the rows of x [N, D] and y [M, D], exact for near ones."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _soft_label_loss(objective: Objective, logits: Tensor, target: Tensor) -> Tensor:
    return (target * objective.d_real(logits) + (1 - target) * objective.d_fake(logits)).mean()
